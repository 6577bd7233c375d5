"""How long and how fast a phase is trained."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segkit.errors import TrainingDataError

from cascade.plan import PHASES, CascadePlan
from cascade.train.augment import Augmentation


@dataclass(frozen=True)
class Schedule:
    """The training of one phase.

    Attributes:
        iterations: Steps of the optimiser.
        batch: Cases per step.
        crops: Samples of each of these cases.
        at_once: Samples that go through the network together; gradients of a step are summed. All if None.
        learning_rate: The highest.
        lowest_learning_rate: Where each cosine ends.
        weight_decay: Of AdamW.
        cycles: Cosine cycles, all of one length.
        warm_up: Fraction of the training over which the rate rises first.
        hours: The training also ends after this time, and its cosine follows the clock if that is
            ahead of the steps; None for no limit.
        largest_gradient_norm: Gradients are scaled down to this norm.
        validate_every: Steps between validations.
        validation_patches: Patches per held-out case in a validation of phase 2.
        foreground: Fraction of patches around a voxel of an organ.
        by_label: Draw the organ first, each as often, then one of its voxels; else any organ's voxel.
        wander: Largest distance of that voxel from the patch's centre as a fraction of the patch.
        augmentation: Random changes.
    """

    iterations: int
    batch: int
    learning_rate: float
    lowest_learning_rate: float
    weight_decay: float
    crops: int = 1
    at_once: int | None = None
    cycles: int = 1
    warm_up: float = 0.0
    hours: float | None = None
    largest_gradient_norm: float = 12.0
    validate_every: int = 100
    validation_patches: int = 6
    foreground: float = 1.0
    by_label: bool = False
    wander: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)

    def progress(self, *, iteration: int, elapsed_s: float) -> float:
        """How much of the training is behind, 0 to 1."""
        spent = elapsed_s / (3600 * self.hours) if self.hours else 0.0
        return min(1.0, max(iteration / self.iterations, spent))

    def learning_rate_at(self, progress: float) -> float:
        """The rate at a point of the training, which runs from 0 to 1."""
        cosine = 0.5 * (1 + math.cos(math.pi * (progress * self.cycles % 1.0 if progress < 1 else 1.0)))
        rate = self.lowest_learning_rate + (self.learning_rate - self.lowest_learning_rate) * cosine
        rising = (progress + 0.002) / self.warm_up if self.warm_up else 1.0
        return rate * min(1.0, rising)


def load_recipe(path: Path) -> tuple[CascadePlan, dict[str, Schedule]]:
    """The plan and both schedules of a recipe.

    Raises:
        PlanError: The recipe's plan cannot be read.
        TrainingDataError: Its schedules cannot be read.
    """
    if not path.is_file():
        raise TrainingDataError(f"there is no recipe {path}")
    text = path.read_text(encoding="utf-8")
    plan = CascadePlan.from_json(text, where=str(path))
    try:
        content = json.loads(text)["training"]
        return plan, {phase: _schedule(content[phase]) for phase in PHASES}
    except (KeyError, TypeError) as error:
        raise TrainingDataError(f"{path}: its schedules cannot be read: {error}") from error


def _schedule(content: dict[str, Any]) -> Schedule:
    augmentation = Augmentation(**content.get("augmentation", {}))
    return Schedule(**{**content, "augmentation": augmentation})
