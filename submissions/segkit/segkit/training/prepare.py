"""nnU-Net's fingerprint and preprocessing straight from the data, case by case, on several cores.

nnU-Net's own commands want a copy of the data first, and begin anew when they were interrupted. Here each
case is read where it lies, brought into the form of inference, and is finished once its file is there.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from segkit.errors import TrainingDataError
from segkit.files import whole_file, write_whole
from segkit.log import log
from segkit.training.data import Pair, Task, read_case
from segkit.training.nnunet import PLANS_NAME, Layout
from segkit.training.recipe import Preparation

_INTENSITIES = 10_000_000
_MEMORY_EACH = 4 * 2**30
_PERCENTILES = {"percentile_00_5": 0.5, "median": 50.0, "percentile_99_5": 99.5}


def process_count(wanted: int | None, threads: int) -> int:
    """How many cases are prepared at a time: half of the cores, or fewer where memory is short.

    Args:
        wanted: What was asked for; None to decide.
        threads: CPU threads of the training.
    """
    if wanted is not None:
        return max(1, wanted)
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return max(1, min(-(-threads // 2), int(free // _MEMORY_EACH)))


def make_fingerprint(
    pairs: Sequence[Pair], task: Task, layout: Layout, processes: int, how: Preparation
) -> dict[str, Any]:
    """nnU-Net's fingerprint of the data: sizes, spacings and the intensities of the foreground.

    Raises:
        TrainingDataError: A label does not fit its image or the task, or no case has any foreground.
    """
    path = layout.preprocessed / "dataset_fingerprint.json"
    if path.exists():
        return json.loads(path.read_text())
    folder = layout.preprocessed / "fingerprint"
    folder.mkdir(parents=True, exist_ok=True)
    todo = [pair for pair in pairs if not (folder / f"{pair.case}.npz").exists()]
    samples = max(1, _INTENSITIES // len(pairs))
    _for_all("fingerprint", partial(_measure, task, how, folder, samples), todo, len(pairs), processes)
    shapes, spacings, values = [], [], []
    for pair in pairs:
        with np.load(folder / f"{pair.case}.npz") as case:
            shapes.append(case["shape"].tolist())
            spacings.append(case["spacing"].tolist())
            values.append(case["values"])
    hu = np.concatenate(values)
    if not hu.size:
        raise TrainingDataError(f"no label of the {len(pairs)} cases holds anything that {task.name} learns")
    intensity = {"mean": hu.mean(), "std": hu.std(), "min": hu.min(), "max": hu.max()}
    intensity |= {name: np.percentile(hu, percent) for name, percent in _PERCENTILES.items()}
    fingerprint = {
        "spacings": spacings,
        "shapes_after_crop": shapes,
        "median_relative_size_after_cropping": 1.0,
        "foreground_intensity_properties_per_channel": {
            "0": {name: float(value) for name, value in intensity.items()}
        },
    }
    write_whole(path, json.dumps(fingerprint))
    return fingerprint


def write_description(task: Task, cases: int, layout: Layout) -> None:
    """Write the dataset.json that nnU-Net's trainer reads."""
    description = {
        "channel_names": {"0": "CT"},
        "labels": {name: value for value, name in enumerate(task.labels)},
        "numTraining": cases,
        "file_ending": ".nii.gz",
    }
    layout.preprocessed.mkdir(parents=True, exist_ok=True)
    write_whole(layout.preprocessed / "dataset.json", json.dumps(description, indent=2))


def preprocess(
    pairs: Sequence[Pair],
    task: Task,
    layout: Layout,
    plans: Mapping[str, Any],
    processes: int,
    how: Preparation,
) -> None:
    """Normalise and resample every case that is not there yet, as nnU-Net does.

    Raises:
        TrainingDataError: Cases were preprocessed before, with another grid or other intensities.
    """
    settings = {
        "spacing": plans["configurations"][layout.configuration]["spacing"],
        "intensity": plans["foreground_intensity_properties_per_channel"]["0"],
    }
    note = layout.preprocessed / "preprocessed.json"
    if note.exists() and json.loads(note.read_text()) != settings:
        raise TrainingDataError(
            f"{layout.work} was preprocessed with another spacing or other intensities; delete it or "
            f"name another work folder"
        )
    write_whole(note, json.dumps(settings))
    folder = layout.preprocessed / f"{PLANS_NAME}_{layout.configuration}"
    (folder / "part").mkdir(parents=True, exist_ok=True)
    # The properties are moved last, so where they are, the case is whole.
    todo = [pair for pair in pairs if not (folder / f"{pair.case}.pkl").exists()]
    _for_all("preprocessing", partial(_preprocess, task, how, layout, folder), todo, len(pairs), processes)


def _measure(task: Task, how: Preparation, folder: Path, samples: int, pair: Pair) -> None:
    hu, labels, spacing_mm = read_case(pair, task, how)
    foreground = hu[labels > 0]
    chosen = np.random.default_rng(1234).choice(foreground, samples) if foreground.size else foreground
    with whole_file(folder / f"{pair.case}.npz") as part:
        np.savez(part, shape=hu.shape, spacing=spacing_mm, values=chosen.astype(np.float32))


def _preprocess(task: Task, how: Preparation, layout: Layout, folder: Path, pair: Pair) -> None:
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.training.dataloading.nnunet_dataset import comp_blosc2_params, nnUNetDatasetBlosc2
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    manager = PlansManager(str(layout.preprocessed / f"{PLANS_NAME}.json"))
    configuration = manager.get_configuration(layout.configuration)
    hu, labels, spacing_mm = read_case(pair, task, how)
    description = json.loads((layout.preprocessed / "dataset.json").read_text())
    data, seg, properties = DefaultPreprocessor(verbose=False).run_case_npy(
        hu[None],
        labels[None].astype(np.int16),
        {"spacing": list(spacing_mm)},
        manager,
        configuration,
        description,
    )
    data, seg = data.astype(np.float32, copy=False), seg.astype(np.int16, copy=False)
    patch = tuple(configuration.patch_size)
    blocks, chunks = comp_blosc2_params(data.shape, patch, data.itemsize)
    blocks_seg, chunks_seg = comp_blosc2_params(seg.shape, patch, seg.itemsize)
    part = folder / "part" / pair.case
    for ending in (".b2nd", "_seg.b2nd"):
        part.with_name(f"{pair.case}{ending}").unlink(missing_ok=True)  # it would not be overwritten
    nnUNetDatasetBlosc2.save_case(
        data,
        seg,
        properties,
        str(part),
        chunks=chunks,
        blocks=blocks,
        chunks_seg=chunks_seg,
        blocks_seg=blocks_seg,
    )
    for ending in (".b2nd", "_seg.b2nd", ".pkl"):
        part.with_name(f"{pair.case}{ending}").replace(folder / f"{pair.case}{ending}")


def _for_all(what: str, do: Callable[[Pair], None], todo: Sequence[Pair], count: int, processes: int) -> None:
    """Do something for each case, in processes of their own where there are several."""
    done = count - len(todo)
    if processes == 1 or len(todo) < 2:
        for number, pair in enumerate(todo, start=1):
            do(pair)
            _say(what, done + number, count)
        return
    with multiprocessing.get_context("spawn").Pool(min(processes, len(todo))) as pool:
        for number, _ in enumerate(pool.imap_unordered(partial(_one_thread, do), todo), start=1):
            _say(what, done + number, count)


def _one_thread(do: Callable[[Pair], None], pair: Pair) -> None:
    import torch

    torch.set_num_threads(1)
    do(pair)


def _say(what: str, number: int, count: int) -> None:
    if number == count or number % max(1, count // 100) == 0:
        log.info(f"{what}: {number} of {count}")
