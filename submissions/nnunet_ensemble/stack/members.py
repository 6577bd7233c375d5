"""Training one member, a configuration's fold, and predicting the cases that it did not see."""

from __future__ import annotations

import json
import time
from pathlib import Path

from segkit.errors import TrainingDataError
from segkit.log import log

from stack.lock import held, holder
from stack.start import begin_with
from stack.words import ALL, FOLDS
from stack.work import PLANS, Work, done, mark

_LOWRES = "3d_lowres"
_CASCADE = "3d_cascade_fullres"
_WAIT_S = 5.0


def finished(work: Work, configuration: str, fold: str) -> bool:
    """Whether a member is trained and its held-out cases are predicted."""
    return done(_mark(work, configuration, fold))


def train_members(work: Work, members: list[tuple[str, str]], *, wait: bool) -> None:
    """Train members one after another; those that another machine trains are left to it.

    Args:
        work: The work folder, prepared.
        members: Configurations and folds, in order.
        wait: Come back until all are finished.

    Raises:
        TrainingDataError: A member is trained elsewhere and `wait` is false, or needs others first.
    """
    left = [member for member in members if not finished(work, *member)]
    told: list[tuple[str, str]] = []
    while left:
        elsewhere = [member for member in left if not _train_if_free(work, *member)]
        left = [member for member in elsewhere if not finished(work, *member)]
        if left and not wait:
            raise TrainingDataError(_why_not(work, *left[0]))
        if left and left != told:
            log.info(f"waiting for {', '.join(f'{name}:{fold}' for name, fold in left)}, trained elsewhere")
            told = left
        if left:
            time.sleep(_WAIT_S)


def _train_if_free(work: Work, configuration: str, fold: str) -> bool:
    """Train a member unless somebody else does; False in that case."""
    if finished(work, configuration, fold):
        return True
    if configuration == _CASCADE and _untrained_before(work):
        return False
    with held(work.lock(f"{configuration}_{fold}")) as free:
        if free and not finished(work, configuration, fold):
            _train(work, configuration, fold)
        return free


def _untrained_before(work: Work) -> list[str]:
    """The folds of the first stage that the cascade still waits for.

    Every case must have been predicted by the low-resolution network that did not see it.
    """
    return [fold for fold in FOLDS if not finished(work, _LOWRES, fold)]


def _why_not(work: Work, configuration: str, fold: str) -> str:
    """Why a member cannot be trained now."""
    if configuration == _CASCADE and (missing := _untrained_before(work)):
        return (
            f"{_CASCADE} learns from what {_LOWRES} predicts, whose folds {', '.join(missing)} are not "
            f"trained; train those first, with --only {_LOWRES}:{missing[0]}"
        )
    where = holder(work.lock(f"{configuration}_{fold}"))
    return f"{configuration}:{fold} is being trained by {where}; it is left to it"


def _train(work: Work, configuration: str, fold: str) -> None:
    import torch

    from stack.trainers import trainer_named

    log.info(f"== {configuration}, fold {fold}")
    began, cpu_began = time.monotonic(), time.process_time()
    with work.for_nnunet():
        if work.device == "cpu":
            torch.set_num_threads(work.threads)
        checkpoint = _newest(work.model(configuration) / f"fold_{fold}")
        plans = json.loads(work.plans.read_text(encoding="utf-8"))
        trainer = trainer_named(work.how.trainer)(
            plans={**plans, "continue_training": checkpoint is not None},
            configuration=configuration,
            fold=fold if fold == ALL else int(fold),
            dataset_json=json.loads((work.preprocessed / "dataset.json").read_text(encoding="utf-8")),
            device=torch.device(work.device),
        )
        if checkpoint is not None:
            trainer.load_checkpoint(str(checkpoint))
            log.info(f"going on from epoch {trainer.current_epoch}")
        elif work.start_from is not None:
            trainer.initialize()
            begin_with(work.start_from, configuration, trainer.network)
        if checkpoint is None or checkpoint.name != _FINAL:
            trainer.run_training()
        trained_s = time.monotonic() - began
        if fold != ALL:
            log.info(f"{configuration}:{fold}: predicting the cases that were held out")
            trainer.perform_actual_validation(save_probabilities=True)
    mark(
        _mark(work, configuration, fold),
        {
            "epochs": trainer.current_epoch,
            "trained_s": round(trained_s, 1),
            "whole_s": round(time.monotonic() - began, 1),
            "cpu_s": round(time.process_time() - cpu_began, 1),
            "plans": PLANS,
        },
    )


_FINAL = "checkpoint_final.pth"


def _newest(folder: Path) -> Path | None:
    names = (_FINAL, "checkpoint_latest.pth", "checkpoint_best.pth")
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _mark(work: Work, configuration: str, fold: str) -> Path:
    return work.model(configuration) / f"fold_{fold}" / "member.json"
