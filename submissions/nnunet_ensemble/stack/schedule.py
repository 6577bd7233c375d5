"""How the ensemble is trained, as a file of plans/ says it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from segkit.errors import TrainingDataError


@dataclass(frozen=True)
class HowToTrain:
    """What is asked of nnU-Net's planner and trainer.

    Attributes:
        planner: nnU-Net's class, such as ExperimentPlanner or nnUNetPlannerResEncL.
        gpu_memory_gb: The planner's target; smaller makes smaller patches, and with them lowres and cascade
            on smaller volumes.
        features_divided_by: Networks get this many times fewer channels than planned.
        batch_size: In place of the planned one.
        schedule: As `segkit.training.recipe.Schedule`, for training by segkit's trainers; nnU-Net's own
            trainer, 1000 epochs of 250 steps, if None.
        changes: By configuration, entries of the schedule that differ.
    """

    planner: str = "ExperimentPlanner"
    gpu_memory_gb: float = 8.0
    features_divided_by: int = 1
    batch_size: int | None = None
    schedule: Mapping[str, Any] | None = None
    changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def schedule_of(self, configuration: str) -> dict[str, Any]:
        """The schedule of a configuration, with its own changes."""
        return {**(self.schedule or {}), **self.changes.get(configuration, {})}

    @property
    def trainer(self) -> str:
        """The class of `stack.trainers`."""
        if self.schedule is None:
            return "PublishedTrainer"
        return "ShortTrainer"


def read_schedule(path: Path) -> HowToTrain:
    """Read a file such as plans/quick.json.

    Raises:
        TrainingDataError: It is missing, or has an entry that is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingDataError(f"{path} cannot be read as a schedule ({error})") from error
    known = [entry.name for entry in fields(HowToTrain)]
    if unknown := sorted(content.keys() - set(known)):
        raise TrainingDataError(f"{path} has no entry {unknown[0]!r}; the entries are {', '.join(known)}")
    return HowToTrain(**content)
