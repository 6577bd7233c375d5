"""What a training on phantoms minimises, and what it is judged by."""

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


class DiceCounter:
    """Dice of each class over all patches seen.

    Args:
        classes: Number of classes, background included.
    """

    def __init__(self, classes: int):
        self.classes = classes
        self.pairs = torch.zeros(classes * classes, dtype=torch.int64)

    def add(self, predicted: torch.Tensor, target: torch.Tensor) -> None:
        """Count two integer volumes of one shape."""
        index = (predicted * self.classes + target).flatten()
        self.pairs += torch.bincount(index, minlength=self.classes**2).cpu()

    def by_class(self) -> list[float]:
        """Dice of each class but the background; not a number where it was never seen or predicted."""
        table = self.pairs.view(self.classes, self.classes).double()
        return (2 * table.diagonal() / (table.sum(0) + table.sum(1)))[1:].tolist()

    def mean(self) -> float:
        """The mean over the classes that were seen or predicted; 0 if none was."""
        scores = torch.tensor(self.by_class(), dtype=torch.float64)
        seen = scores[~scores.isnan()]
        return float(seen.mean()) if len(seen) else 0.0


def _at(target: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
    if target.shape[1:] == level.shape[2:]:
        return target
    small = functional.interpolate(target[:, None].float(), size=level.shape[2:], mode="nearest-exact")
    return small[:, 0].long()
