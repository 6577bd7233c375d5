"""What training minimises, and what it is judged by."""

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


class DiceCounter:
    """Dice per class over all volumes seen.

    Args:
        classes: Number of classes, background included.
    """

    def __init__(self, classes: int):
        self.overlap = torch.zeros(classes, dtype=torch.float64)
        self.total = torch.zeros(classes, dtype=torch.float64)

    def add(self, predicted: torch.Tensor, labels: torch.Tensor) -> None:
        """Count two integer volumes of one shape."""
        for value in range(len(self.total)):
            mine, theirs = predicted == value, labels == value
            self.overlap[value] += (mine & theirs).sum()
            self.total[value] += mine.sum() + theirs.sum()

    def by_class(self) -> list[float]:
        """Dice of each class but the background; not a number where it was never seen or predicted."""
        return (2 * self.overlap / self.total)[1:].tolist()

    def mean(self) -> float:
        """The mean over the classes that were seen or predicted; 0 if none was."""
        scores = torch.tensor(self.by_class(), dtype=torch.float64)
        seen = scores[~scores.isnan()]
        return float(seen.mean()) if len(seen) else 0.0
