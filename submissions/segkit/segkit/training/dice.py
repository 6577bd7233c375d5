"""Dice of label maps that are seen piece by piece, which trainings are judged by."""

from __future__ import annotations

import torch


class DiceCounter:
    """Dice of each class over all patches or volumes seen.

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
