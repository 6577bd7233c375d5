"""Labels that were swapped, and volumes that were mirrored: mistakes that a low score alone does not tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.uint8]

_GAIN = 0.25
"""How much the mean Dice must rise before a mistake is suspected."""
_LEAST = 0.3
"""A mended prediction below this is as wrong as before."""


@dataclass(frozen=True)
class Mixup:
    """A change of a prediction that would make it right.

    Attributes:
        kind: `mirrored` or `renamed`.
        axis: The axis that is mirrored, 0 to 2; None for renamed labels.
        names: For renamed labels, what each label of the prediction should be called.
        before: Mean Dice as it is.
        after: Mean Dice after the change.
    """

    kind: str
    axis: int | None
    names: Mapping[int, int]
    before: float
    after: float


def find_mixup(reference: Labels, prediction: Labels, values: Sequence[int]) -> Mixup | None:
    """Return the change that raises the mean Dice most, where it raises it much; else None.

    Args:
        reference: Labels on a grid.
        prediction: Labels on the same grid.
        values: The label values that are scored.
    """
    counts = _pairs(reference, prediction, values)
    before = _mean_dice(counts)
    if np.isnan(before):
        return None
    found = [
        Mixup("mirrored", axis, {}, before, _mean_dice(_pairs(reference, np.flip(prediction, axis), values)))
        for axis in range(3)
    ]
    order = _best_names(counts)
    renamed = {
        values[guess]: values[truth]
        for truth, guess in enumerate(order)
        if guess != truth and counts[truth + 1, guess + 1]
    }
    if renamed:
        permuted = counts[:, [0, *(guess + 1 for guess in order)]]
        found.append(Mixup("renamed", None, renamed, before, _mean_dice(permuted)))
    best = max(found, key=lambda mixup: mixup.after)
    return best if best.after >= max(before + _GAIN, _LEAST) else None


def _pairs(reference: Labels, prediction: Labels, values: Sequence[int]) -> npt.NDArray[np.int64]:
    """Count voxels by label of the reference (rows) and of the prediction (columns); 0 is all else."""
    place = np.zeros(256, dtype=np.int64)
    place[list(values)] = np.arange(1, len(values) + 1)
    size = len(values) + 1
    joint = place[reference.ravel()] * size + place[prediction.ravel()]
    return np.bincount(joint, minlength=size * size).reshape(size, size)


def _mean_dice(counts: npt.NDArray[np.int64]) -> float:
    """Return the mean Dice of the labels that the reference holds; NaN where it holds none."""
    both = np.diagonal(counts)[1:]
    truth, guess = counts.sum(axis=1)[1:], counts.sum(axis=0)[1:]
    held = truth > 0
    return float(np.mean(2 * both[held] / (truth[held] + guess[held]))) if held.any() else np.nan


def _best_names(counts: npt.NDArray[np.int64]) -> list[int]:
    """Return for each label of the reference the one of the prediction that covers it best, each once."""
    truth, guess = counts.sum(axis=1)[1:], counts.sum(axis=0)[1:]
    dice = 2 * counts[1:, 1:] / np.maximum(truth[:, None] + guess[None, :], 1)
    left, order = set(range(len(dice))), [-1] * len(dice)
    for flat in np.argsort(-dice, axis=None, kind="stable"):
        row, column = divmod(int(flat), len(dice))
        if order[row] < 0 and column in left and dice[row, column] > 0:
            order[row] = column
            left.discard(column)
    for row, column in enumerate(order):
        if column < 0:
            order[row] = row if row in left else min(left)
            left.discard(order[row])
    return order
