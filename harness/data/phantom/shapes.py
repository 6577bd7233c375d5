"""Implicit shapes in patient millimetres: negative inside, about the distance to the surface near it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Points = tuple[Floats, Floats, Floats]
Vector = NDArray[np.float64]


def rotation(*, x_deg: float = 0.0, y_deg: float = 0.0, z_deg: float = 0.0) -> Vector:
    """Return the rotation about x, then y, then z."""
    result = np.eye(3)
    for (i, j), degrees in (((1, 2), x_deg), ((2, 0), y_deg), ((0, 1), z_deg)):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        turn = np.eye(3)
        turn[i, i] = turn[j, j] = c
        turn[i, j], turn[j, i] = -s, s
        result = turn @ result
    return result


def smooth_union(a: Floats, b: Floats, blend_mm: float) -> Floats:
    """Return the union of two shapes with a fillet of about `blend_mm`."""
    share = np.clip(0.5 + 0.5 * (b - a) / blend_mm, 0, 1)
    return np.asarray(b + (a - b) * share - blend_mm * share * (1 - share), np.float32)


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid. Its field is the distance along the smallest radius, so that fields blend."""

    centre: Vector
    radii: Vector
    turn: Vector | None = None

    def bounds(self) -> tuple[Vector, Vector]:
        """Return the corners of a box around it."""
        reach = np.full(3, max(self.radii)) if self.turn is not None else self.radii
        return self.centre - reach, self.centre + reach

    def field(self, points: Points) -> Floats:
        """Return the field at points."""
        offsets: Sequence[Floats] = [p - np.float32(c) for p, c in zip(points, self.centre, strict=True)]
        if self.turn is not None:
            offsets = [sum(np.float32(self.turn[i, k]) * offsets[i] for i in range(3)) for k in range(3)]  # type: ignore[misc]
        n = np.sqrt(sum(np.square(o / np.float32(r)) for o, r in zip(offsets, self.radii, strict=True)))
        return np.asarray((n - 1) * np.float32(min(self.radii)), np.float32)


@dataclass(frozen=True)
class Tube:
    """A tube along straight pieces, with a radius at each point.

    `flat` above 1 makes it thinner from front to back.
    """

    path: tuple[Vector, ...]
    radii: tuple[float, ...]
    flat: float = 1.0
    blend_mm: float = 4.0

    def bounds(self) -> tuple[Vector, Vector]:
        """Return the corners of a box around it."""
        points = np.array(self.path)
        return points.min(0) - max(self.radii), points.max(0) + max(self.radii)

    def field(self, points: Points) -> Floats:
        """Return the field at points."""
        whole: Floats | None = None
        for a, b, from_mm, to_mm in zip(
            self.path[:-1], self.path[1:], self.radii[:-1], self.radii[1:], strict=True
        ):
            d = b - a
            along = sum((p - np.float32(c)) * np.float32(v) for p, c, v in zip(points, a, d, strict=True))
            t = np.clip(np.asarray(along) / np.float32(d @ d), 0, 1)
            squared = sum(
                np.float32(scale) * np.square(p - (np.float32(c) + t * np.float32(v)))
                for p, c, v, scale in zip(points, a, d, (1.0, self.flat, 1.0), strict=True)
            )
            radius = np.float32(from_mm) + t * np.float32(to_mm - from_mm)
            piece = np.asarray(np.sqrt(squared) - radius, np.float32)
            whole = piece if whole is None else smooth_union(whole, piece, self.blend_mm)
        assert whole is not None
        return whole


@dataclass(frozen=True)
class Blend:
    """A smooth union of shapes."""

    shapes: tuple[Ellipsoid | Tube, ...]
    blend_mm: float = 20.0

    def bounds(self) -> tuple[Vector, Vector]:
        """Return the corners of a box around it."""
        boxes = [shape.bounds() for shape in self.shapes]
        return np.min([box[0] for box in boxes], 0), np.max([box[1] for box in boxes], 0)

    def field(self, points: Points) -> Floats:
        """Return the field at points."""
        whole = self.shapes[0].field(points)
        for shape in self.shapes[1:]:
            whole = smooth_union(whole, shape.field(points), self.blend_mm)
        return whole


Shape = Ellipsoid | Tube | Blend
