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
    near = a - b
    np.abs(near, out=near)
    np.subtract(np.float32(blend_mm), near, out=near)
    np.maximum(near, 0, out=near)
    np.square(near, out=near)
    near *= np.float32(-0.25 / blend_mm)
    near += np.minimum(a, b)
    return np.asarray(near, np.float32)


def _weighted(offsets: Sequence[Floats], weights: Vector) -> Floats:
    total = offsets[0] * np.float32(weights[0])
    for offset, weight in zip(offsets[1:], weights[1:], strict=True):
        total += offset * np.float32(weight)
    return total


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
        offsets = [p - np.float32(c) for p, c in zip(points, self.centre, strict=True)]
        squared: Floats | None = None
        for k, radius in enumerate(self.radii):
            if self.turn is None:
                offset = offsets[k] * np.float32(1 / radius)
            else:
                offset = _weighted(offsets, self.turn[:, k] / radius)
            np.square(offset, out=offset)
            squared = offset if squared is None else np.add(squared, offset, out=squared)
        assert squared is not None
        n = np.sqrt(squared, out=squared)
        n -= 1
        n *= np.float32(min(self.radii))
        return n


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
        # Thinner from front to back is round in a space that is stretched there.
        stretch = np.array((1.0, self.flat**0.5, 1.0))
        start = self.path[0] * stretch
        place = [
            (p - np.float32(c)) * np.float32(f) for p, c, f in zip(points, self.path[0], stretch, strict=True)
        ]
        squared = np.square(place[0]) + np.square(place[1]) + np.square(place[2])  # from the piece's start
        whole: Floats | None = None
        for a, b, from_mm, to_mm in zip(
            self.path[:-1], self.path[1:], self.radii[:-1], self.radii[1:], strict=True
        ):
            from_a, d = a * stretch - start, (b - a) * stretch
            along = _weighted(place, d)
            along -= np.float32(from_a @ d)
            length = np.float32(d @ d)
            t = along * (1 / length)
            np.clip(t, 0, 1, out=t)
            # |p - a - t d|^2 and, for the next piece, |p - b|^2
            piece = t * length
            along *= 2
            piece -= along
            piece *= t
            piece += squared
            squared -= along
            squared += length
            np.maximum(piece, 0, out=piece)
            np.sqrt(piece, out=piece)
            t *= np.float32(to_mm - from_mm)
            t += np.float32(from_mm)
            piece -= t
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
