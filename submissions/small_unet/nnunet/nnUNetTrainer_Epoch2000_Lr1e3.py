"""The published trainer, for nnU-Net's own commands: nnU-Net's, 2000 epochs from learning rate 1e-3."""

from __future__ import annotations

from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainer_Epoch2000_Lr1e3(nnUNetTrainer):
    """nnU-Net's trainer with another length and learning rate."""

    def __init__(
        self,
        plans: dict[str, Any],
        configuration: str,
        fold: int | str,
        dataset_json: dict[str, Any],
        device: torch.device = torch.device("cuda"),  # noqa: B008 - nnU-Net reads this signature
    ):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = 2000
        self.initial_lr = 1e-3
