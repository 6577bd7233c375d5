"""The box of a CT that a coarse map of it points to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from segkit.resample import Shape
from segkit.windows import Box


def box_around(mask: np.ndarray, shape: Shape, spacing_mm: Sequence[float], margin_mm: float) -> Box | None:
    """The voxels of a CT that lie under a mask, and a margin, as far as the CT goes.

    Args:
        mask: Boolean map of the whole CT on any grid: voxel i of n covers the CT's voxels from i/n to
            (i+1)/n of its size.
        shape: Shape (z, y, x) of the CT.
        spacing_mm: Voxel size (z, y, x) of the CT.
        margin_mm: How much wider the box is made on every side.

    Returns:
        Slices (z, y, x) of the CT, or None where the mask is empty.
    """
    if not mask.any():
        return None
    box = []
    for axis in range(3):
        present = np.flatnonzero(mask.any(axis=tuple(other for other in range(3) if other != axis)))
        scale = shape[axis] / mask.shape[axis]
        margin = margin_mm / spacing_mm[axis]
        first = max(0, int(np.floor(present[0] * scale - margin)))
        last = min(shape[axis], int(np.ceil((present[-1] + 1) * scale + margin)))
        box.append(slice(first, last))
    return box[0], box[1], box[2]
