"""Raw data, fingerprint, plans and preprocessing: everything that all members share."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from segkit.errors import TrainingDataError
from segkit.files import write_whole
from segkit.log import log

from stack.raw import write_raw
from stack.trainers import MIRRORED
from stack.work import PLANS, Work, done, mark

_FULLRES = "3d_fullres"
_CASCADE = "3d_cascade_fullres"
_AUGMENTING = "nnUNet_n_proc_DA"


def prepare(work: Work, data: Path, wanted: Sequence[str]) -> None:
    """Do what is left to do before a member can be trained.

    Args:
        work: The work folder.
        data: The data set.
        wanted: Configurations to prepare; those that the plans do not have are left out.

    Raises:
        TrainingDataError: The data cannot be used, or the plans have none of the configurations.
    """
    write_raw(data, work.raw)
    with work.for_nnunet():
        if not done(work.preprocessed / "planned.json"):
            _plan(work)
        planned = work.configurations()
        for name in wanted:
            if name in planned and not done(work.preprocessed / f"{name}.json"):
                _preprocess(work, name)
    if not set(wanted) & set(planned):
        raise TrainingDataError(f"the plans have {', '.join(planned)}, and none of {', '.join(wanted)}")
    if missing := [name for name in wanted if name not in planned]:
        log.info(
            f"the planner makes no {', '.join(missing)} for this data: the patch of {_FULLRES} covers a "
            "quarter of the median volume or more; a smaller gpu_memory_gb makes smaller patches"
        )


def _plan(work: Work) -> None:
    from nnunetv2.experiment_planning import plan_and_preprocess_api as nnunet

    number = int(work.dataset[7:10])
    log.info("== fingerprint and plans")
    nnunet.extract_fingerprints(
        [number], num_processes=work.processes, check_dataset_integrity=False, clean=False
    )
    augmenting = os.environ[_AUGMENTING]
    # The planner counts threads by it, and knows no zero.
    os.environ[_AUGMENTING] = "1"
    if work.given_plans is None:
        nnunet.plan_experiments(
            [number],
            work.how.planner,
            gpu_memory_target_in_gb=work.how.gpu_memory_gb,
            overwrite_plans_name=PLANS,
        )
    os.environ[_AUGMENTING] = augmenting
    if work.given_plans is not None:
        # What was divided in them is not divided again.
        plans = json.loads(work.given_plans.read_text(encoding="utf-8"))
        adapt(plans, dataclasses.replace(work, how=dataclasses.replace(work.how, features_divided_by=1)))
        plans["dataset_name"] = work.dataset
        shutil.copyfile(work.raw / "dataset.json", work.preprocessed / "dataset.json")
    else:
        plans = json.loads(work.plans.read_text(encoding="utf-8"))
        adapt(plans, work)
    write_whole(work.plans, json.dumps(plans, indent=1))
    mark(work.preprocessed / "planned.json", {"configurations": work.configurations()})
    log.info(f"planned: {', '.join(work.configurations())}")


def adapt(plans: dict[str, Any], work: Work) -> None:
    """Put into nnU-Net's plans what the schedule says of networks, batches and trainers."""
    for name, configuration in plans["configurations"].items():
        configuration[MIRRORED] = work.mirrored
        if work.how.schedule is not None:
            configuration["schedule"] = work.how.schedule_of(name)
        if "architecture" in configuration:
            numbers = configuration["architecture"]["arch_kwargs"]
            numbers["features_per_stage"] = [
                max(4, count // work.how.features_divided_by) for count in numbers["features_per_stage"]
            ]
        if work.how.batch_size is not None and "batch_size" in configuration:
            configuration["batch_size"] = work.how.batch_size


def _preprocess(work: Work, name: str) -> None:
    from nnunetv2.experiment_planning import plan_and_preprocess_api as nnunet

    # The cascade's cases are those of full resolution.
    source = _FULLRES if name == _CASCADE else name
    if not done(work.preprocessed / f"{source}.json"):
        log.info(f"== preprocessing {source}")
        nnunet.preprocess_dataset(int(work.dataset[7:10]), PLANS, (source,), (work.processes,))
        mark(work.preprocessed / f"{source}.json", {})
    if source != name:
        mark(work.preprocessed / f"{name}.json", {"as": source})
