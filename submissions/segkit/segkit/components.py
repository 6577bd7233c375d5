"""Connected parts of masks and label maps."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
from scipy import ndimage

_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


def without_small_parts(mask: np.ndarray, smallest: float) -> np.ndarray:
    """The mask less its connected parts (26 neighbours) of fewer than `smallest` voxels.

    Args:
        mask: Boolean, shape (z, y, x).
        smallest: Size in voxels of the smallest part that is kept.
    """
    parts, _ = ndimage.label(mask, _NEIGHBOURS)
    sizes = np.bincount(parts.ravel())
    keep = sizes >= smallest
    keep[0] = False
    return keep[parts]


def beside_largest_parts(labels: np.ndarray) -> np.ndarray:
    """Mask of what lies outside the largest connected part (26 neighbours) of its own label.

    Each label is looked at inside its bounding box only. Of two largest parts of one size the one that
    comes first in memory counts.

    Args:
        labels: Integers from 0, the background, shape (z, y, x).

    Returns:
        Boolean array of that shape; the background is False.
    """
    beside = np.zeros(labels.shape, dtype=bool)
    for value, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is None:
            continue
        parts, count = ndimage.label(labels[box] == value, _NEIGHBOURS)
        if count < 2:
            continue
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        beside[box] |= (parts > 0) & (parts != sizes.argmax())
    return beside


def drop_side_parts(logits: np.ndarray, labels: np.ndarray, values: Collection[int]) -> None:
    """Keep the largest connected part of some labels: elsewhere the background wins, in place.

    Done on the network's grid and before the logits are enlarged, which keeps smooth borders.

    Args:
        logits: float32, shape (class, z, y, x).
        labels: The class that wins in each voxel, shape (z, y, x).
        values: The labels that have one part.
    """
    beside = beside_largest_parts(only(labels, values))
    logits[0][beside] = logits[:, beside].max(axis=0) + 1


def only(labels: np.ndarray, values: Collection[int]) -> np.ndarray:
    """The label map without labels other than `values`."""
    keep = np.zeros(256, dtype=bool)
    keep[list(values)] = True
    return np.where(keep[labels], labels, 0).astype(labels.dtype)
