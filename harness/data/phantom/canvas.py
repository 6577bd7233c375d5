"""The volume under construction: painting tissues and labels into a grid over a warped patient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.fields import Floats, SmoothField
from harness.data.phantom.shapes import Ellipsoid, Points, Shape, Vector
from harness.data.phantom.warp import Warp, pushed

Mask = NDArray[np.bool_]
Box = tuple[slice, slice, slice]

VESSEL, BOWEL = 251, 252
"""Owners beside the labels 1 to 14: what has no label of its own, but keeps others off."""


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
        warp: Warp,
        texture: dict[float, SmoothField],
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
        self._warp = warp
        self.forward_mm: Floats = warp.forward_mm(self.axes_mm[2])
        self.points: Points = warp.points(self.axes_mm)

    def box(self, shape: Shape, margin_mm: float = 8.0, *, upright: bool = False) -> Box:
        """Return the part of the grid that a shape can reach."""
        span = self._warp.span(shape, margin_mm, upright=upright)
        if span is None:
            return slice(0, 0), slice(0, 0), slice(0, 0)
        x, y, z = (
            slice(*(int(index) for index in np.searchsorted(axis_mm, ends)))
            for axis_mm, ends in zip(self.axes_mm, span, strict=True)
        )
        return x, y, z

    def push(self, centre_mm: Vector, radius_mm: float, share: float) -> None:
        """Push what is painted from now on away from the middle of a mass."""
        reach = np.full(3, 3.5 * radius_mm)
        box = self.box(Ellipsoid(centre_mm, reach), 0.0)
        x, y, z = (axis[box] for axis in self.points)
        pushed((x, y, z), centre_mm, radius_mm, share)

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
