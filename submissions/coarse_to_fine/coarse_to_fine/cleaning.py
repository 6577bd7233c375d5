"""What a coarse label map goes through before its box is taken."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from segkit.components import beside_largest_parts, only

from coarse_to_fine.plan import CoarseRules

_NEIGHBOURS = np.ones((3, 3, 3), dtype=bool)


def cleaned(labels: np.ndarray, rules: CoarseRules, single: tuple[int, ...]) -> np.ndarray:
    """The map without what no organ can be.

    In this order: parts of the foreground whose centroid lies too far from that of the anchor's largest part
    along z go, where there is an anchor; of each label in `single` only the largest part stays; labels that
    do not count are dropped.

    Args:
        labels: uint8, shape (z, y, x), 0 is the background.
        rules: Anchor, reach and labels that do not count.
        single: Labels of one connected part (26 neighbours).

    Returns:
        A new array of that shape.
    """
    kept = labels.copy()
    height = centroid_z(labels == rules.anchor)
    if height is not None:
        kept[_far_parts(labels > 0, height, rules.reach_voxels)] = 0
    kept[beside_largest_parts(only(kept, single))] = 0
    kept[np.isin(kept, rules.dropped)] = 0
    return kept


def centroid_z(mask: np.ndarray) -> float | None:
    """The mean z of a mask's largest connected part, in voxels; None where the mask is empty."""
    if not mask.any():
        return None
    largest = mask & ~beside_largest_parts(mask.astype(np.uint8)).astype(bool)
    return _mean_z(largest)


def _far_parts(mask: np.ndarray, height: float, reach: float) -> np.ndarray:
    parts, count = ndimage.label(mask, _NEIGHBOURS)
    heights = np.arange(mask.shape[0])
    far = np.zeros(count + 1, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = parts[box] == number
        middle = _mean_z(inside) + heights[box[0]][0]
        far[number] = abs(middle - height) > reach
    return far[parts]


def _mean_z(mask: np.ndarray) -> float:
    by_slice = mask.sum(axis=(1, 2))
    return float((by_slice * np.arange(len(by_slice))).sum() / by_slice.sum())
