"""The volume under construction: painting tissues and labels into a grid over a warped patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.fields import Floats, SmoothField
from harness.data.phantom.shapes import Points, Shape

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]

VESSEL, BOWEL = 251, 252
"""Owners beside the labels 1 to 14: what has no label of its own, but keeps others off."""

WARP_REACH_MM = 26.0
"""More than the warp moves anything."""


@dataclass(frozen=True)
class Grid:
    """Where voxels lie: x to the right, y to the front, z up, in mm."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    origin_mm: tuple[float, float, float]


class Canvas:
    """Some slices of a CT and its labels.

    Shapes are given in the patient's own coordinates, in which the spine is straight; its curve and a smooth
    warp between those and the grid bend every patient in another way.

    Attributes:
        hu: The image.
        label: What the reference says.
        owner: Who holds a voxel: a label, one of the constants above, or 0 where it is still free. An organ
            also holds the fat next to it, so that its neighbours keep a distance.
    """

    def __init__(
        self,
        grid: Grid,
        slices: slice,
        *,
        warp: tuple[tuple[SmoothField, float], ...],
        texture: dict[float, SmoothField],
        forward_mm: Callable[[Floats], Floats],
    ) -> None:
        x, y, z = (
            (origin + np.arange(count) * step).astype(np.float32)
            for origin, count, step in zip(grid.origin_mm, grid.shape, grid.spacing_mm, strict=True)
        )
        self.axes_mm: tuple[Floats, Floats, Floats] = (x, y, z[slices])
        self.shape = shape = (len(x), len(y), len(self.axes_mm[2]))
        self.spacing_mm = grid.spacing_mm
        self.texture = texture
        self.hu = np.full(shape, -1000.0, np.float32)
        self.label = np.zeros(shape, np.uint8)
        self.owner = np.zeros(shape, np.uint8)
        self.everywhere: Box = (slice(None), slice(None), slice(None))
        self._scan_z_mm, self._scan_forward_mm = z, forward_mm(z)
        self.forward_mm: Floats = self._scan_forward_mm[slices]
        self.points: Points = self._warped(warp)

    def box(self, shape: Shape, margin_mm: float = 8.0, *, upright: bool = False) -> Box:
        """Return the part of the grid that a shape can reach."""
        low, high = shape.bounds()
        reach = margin_mm + WARP_REACH_MM

        def part(axis_mm: Floats, axis: int, bend: tuple[float, float] = (0.0, 0.0)) -> slice:
            ends = (low[axis] - reach + bend[0], high[axis] + reach + bend[1])
            first, last = np.searchsorted(axis_mm, ends)
            return slice(int(first), int(last))

        x, y, z = self.axes_mm
        # By the scan's slices, not the canvas's: a box must not depend on how the scan is cut into slabs.
        bend = self._scan_forward_mm[part(self._scan_z_mm, 2)]
        if upright or not len(bend):
            return part(x, 0), part(y, 1), part(z, 2)
        return part(x, 0), part(y, 1, (float(bend.min()), float(bend.max()))), part(z, 2)

    def around(self, mask: Mask) -> Box:
        """Return the smallest box that holds a mask of the whole canvas; an empty one if it is empty."""
        slices = []
        for axis in range(3):
            found = np.flatnonzero(mask.any(axis=tuple(k for k in range(3) if k != axis)))
            slices.append(slice(int(found[0]), int(found[-1]) + 1) if len(found) else slice(0, 0))
        return slices[0], slices[1], slices[2]

    def field(self, shape: Shape, box: Box, *, upright: bool = False) -> Floats:
        """Return a shape's field in a box.

        `upright` takes the shape's y as that of the whole body; otherwise it counts from the curved spine.
        """
        x, y, z = (axis[box] for axis in self.points)
        return shape.field((x, y + self.forward_mm[box[2]] if upright else y, z))

    def noise(self, scale_mm: float, box: Box, *, offset_mm: float = 0.0) -> Floats:
        """Return texture of about unit variance in a box; scales are those the canvas was made with."""
        x, y, z = (axis[part] for axis, part in zip(self.axes_mm, box, strict=True))
        return self.texture[scale_mm].on((x, y, z), offset_mm=offset_mm)

    def paint(self, box: Box, mask: Mask, hu: NDArray[Any] | float, label: int | None = None) -> None:
        """Set the HU, and the label if one is given, where the mask is true; the mask covers the box."""
        view = self.hu[box]
        view[mask] = hu[mask] if isinstance(hu, np.ndarray) else hu
        if label is not None:
            self.label[box][mask] = label
            self.owner[box][mask] = label

    def claim(self, box: Box, mask: Mask, owner: int) -> None:
        """Keep others off where the mask is true and nobody else is."""
        view = self.owner[box]
        view[mask & (view == 0)] = owner

    def _warped(self, warp: tuple[tuple[SmoothField, float], ...]) -> Points:
        x, y, z = (
            axis.reshape([-1 if i == k else 1 for i in range(3)]) for k, axis in enumerate(self.axes_mm)
        )
        moved = []
        for axis, coordinate in enumerate((x, y, z)):
            total = np.broadcast_to(coordinate, self.shape).copy()
            for number, (field, amplitude_mm) in enumerate(warp):
                total += amplitude_mm * field.on(self.axes_mm, offset_mm=53.0 * axis + 17.0 * number)
            moved.append(total)
        moved[1] -= self.forward_mm
        return moved[0], moved[1], moved[2]
