"""What training minimises."""

from __future__ import annotations

import torch
from torch.nn import functional


def dice_and_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Soft Dice loss over all classes, background included, plus cross-entropy.

    Args:
        logits: float32, (batch, class, z, y, x).
        labels: (batch, z, y, x), int64.
    """
    probabilities = torch.softmax(logits, dim=1)
    target = functional.one_hot(labels, logits.shape[1]).movedim(-1, 1).to(logits.dtype)
    voxels = (2, 3, 4)
    overlap = (probabilities * target).sum(voxels)
    total = probabilities.sum(voxels) + target.sum(voxels)
    soft_dice = (2 * overlap + 1e-5) / (total + 1e-5)
    return 1 - soft_dice.mean() + functional.cross_entropy(logits, labels)
