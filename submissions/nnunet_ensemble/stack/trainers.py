"""The trainers of the ensemble: nnU-Net's own, and segkit's for a few minutes on a CPU.

Both differ from what they stand on in one thing: cross-validation, which chooses the ensemble, runs with the
test-time mirroring that the package will have, and that is a setting.
"""

from __future__ import annotations

from typing import Any

from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from segkit.training.trainers import ClockTrainer

MIRRORED = "mirrored_at_test"


class _AsPackaged(nnUNetTrainer):
    """Validates with the mirroring that the plans say."""

    inference_allowed_mirroring_axes: Any

    def perform_actual_validation(self, save_probabilities: bool = False) -> None:
        """Predict this fold's held-out cases."""
        allowed = self.inference_allowed_mirroring_axes
        wanted = self.configuration_manager.configuration.get(MIRRORED, False)
        # nnU-Net takes None for no mirroring, and fails on an empty tuple.
        self.inference_allowed_mirroring_axes = (allowed or None) if wanted else None
        try:
            super().perform_actual_validation(save_probabilities)
        finally:
            self.inference_allowed_mirroring_axes = allowed


class PublishedTrainer(_AsPackaged):
    """nnU-Net's trainer: 1000 epochs of 250 steps."""


class ShortTrainer(_AsPackaged, ClockTrainer):
    """By the clock: AdamW, warm-up, cosine, bfloat16 where the CPU has it."""

    inference_allowed_mirroring_axes: Any


def trainer_named(name: str) -> Any:
    """A class of this module."""
    return {"PublishedTrainer": PublishedTrainer, "ShortTrainer": ShortTrainer}[name]
