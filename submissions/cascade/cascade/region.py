"""The region that phase 1 found, in voxels of the CT."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from segkit.components import without_small_parts
from segkit.region import box_around
from segkit.resample import Shape, linear_taps
from segkit.windows import Box


@dataclass(frozen=True)
class Region:
    """Where organs are.

    Attributes:
        box: Slices (z, y, x) of the CT.
        mask: Boolean map of the whole CT at phase 1's resolution; voxel i of n covers the CT's
            voxels from i/n to (i+1)/n of its size.
        shape: Shape (z, y, x) of the CT.
    """

    box: Box
    mask: np.ndarray
    shape: Shape

    def on_grid(self, grid: Shape) -> np.ndarray:
        """The mask inside the box, by the nearest voxel, on a grid that divides the box evenly."""
        index = []
        for axis in range(3):
            start, stop = self.box[axis].start, self.box[axis].stop
            lower, upper, weight = linear_taps(stop - start, grid[axis])
            nearest = start + np.where(weight < 0.5, lower, upper)
            index.append(((nearest + 0.5) * self.mask.shape[axis] / self.shape[axis]).astype(np.int64))
        return self.mask[np.ix_(*index)]


def find_region(
    mask: np.ndarray,
    shape: Shape,
    spacing_mm: Sequence[float],
    *,
    smallest_part_ml: float,
    margin_mm: float,
) -> Region | None:
    """The box of a mask, its small parts left out.

    Args:
        mask: What phase 1 calls organ: boolean, any size, covers the whole CT.
        shape: Shape (z, y, x) of the CT.
        spacing_mm: Voxel size (z, y, x) of the CT.
        smallest_part_ml: Volume of the smallest part that counts.
        margin_mm: How much wider the box is made on every side.

    Returns:
        The region, or None where nothing is left.
    """
    extent_mm = [size * spacing for size, spacing in zip(shape, spacing_mm, strict=True)]
    voxel_ml = float(np.prod(extent_mm)) / mask.size / 1000
    kept = without_small_parts(mask, smallest_part_ml / voxel_ml)
    box = box_around(kept, shape, spacing_mm, margin_mm)
    return None if box is None else Region(box=box, mask=kept, shape=shape)
