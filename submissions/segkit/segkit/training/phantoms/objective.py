"""What a training on phantoms minimises."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional


def deep_dice_and_cross_entropy(logits: Sequence[torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """Soft Dice and cross-entropy at every resolution, each worth half of the next finer one.

    Args:
        logits: (batch, class, ...) of each resolution, the finest first.
        target: Outputs (batch, ...), int64, of the finest resolution.
    """
    total: torch.Tensor | float = 0.0
    weights = [0.5**number for number in range(len(logits))]
    for weight, level in zip(weights, logits, strict=True):
        total = total + weight / sum(weights) * dice_and_cross_entropy(level.float(), _at(target, level))
    return torch.as_tensor(total)


def dice_and_cross_entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Soft Dice of the classes but the background, over the batch as one volume, and cross-entropy.

    Args:
        logits: (batch, class, ...), float32.
        target: (batch, ...), int64.
    """
    probabilities = torch.softmax(logits, dim=1)
    axes = [0, *range(2, logits.dim())]
    total = probabilities.sum(axes)
    # Of the true class alone, added up by class: a one-hot volume would take as much memory as the logits.
    own = probabilities.gather(1, target[:, None]).flatten()
    flat = target.flatten()
    overlap = torch.zeros_like(total).scatter_add(0, flat, own)
    count = torch.zeros_like(total).scatter_add(0, flat, torch.ones_like(own))
    dice = (2 * overlap + 1e-5) / (total + count + 1e-5).clamp(min=1e-8)
    return functional.cross_entropy(logits, target) - dice[1:].mean()


def _at(target: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    if target.shape[1:] == level.shape[2:]:
        return target
    small = functional.interpolate(target[:, None].float(), size=level.shape[2:], mode="nearest-exact")
    return small[:, 0].long()
