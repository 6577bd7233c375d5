"""How long and how fast a training on phantoms goes."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """A training that ends after its steps or its hours, whichever come first.

    Attributes:
        steps: The most steps.
        batch: Patches per step.
        learning_rate: The highest; it rises over the warm-up and falls as a cosine.
        hours: The most hours spent, resumes included; None for no limit. The cosine follows the larger
            of both fractions, so a training ends at a small rate on any machine.
        weight_decay: AdamW's, of all but norms and biases.
        warm_up: Fraction of the training over which the rate rises.
        lowest: The rate at the end, as a fraction of the highest.
        average: Decay of the moving average of the weights, which is what is judged and exported.
        largest_gradient_norm: Gradients are scaled down to this norm.
        judge_every_s: Seconds between two looks at the held-out volumes.
        judged_patches: Patches that such a look takes.
    """

    steps: int
    batch: int
    learning_rate: float = 1e-3
    hours: float | None = None
    weight_decay: float = 0.01
    warm_up: float = 0.02
    lowest: float = 0.01
    average: float = 0.999
    largest_gradient_norm: float = 12.0
    judge_every_s: float = 600.0
    judged_patches: int = 16

    def progress(self, step: int, elapsed_s: float) -> float:
        """How much of the training is behind, 0 to 1."""
        spent = elapsed_s / (3600 * self.hours) if self.hours else 0.0
        return min(1.0, max(step / self.steps, spent))

    def rate_at(self, progress: float) -> float:
        """The learning rate at a point of the training, 0 to 1."""
        rising = min(1.0, (progress + 0.0005) / self.warm_up) if self.warm_up else 1.0
        falling = 0.5 * (1 + math.cos(math.pi * progress))
        return self.learning_rate * max(rising * falling, self.lowest * rising)

    def average_at(self, step: int) -> float:
        """The decay of the moving average; smaller at the start, so that it forgets the first weights."""
        return min(self.average, (1 + step) / (10 + step))
