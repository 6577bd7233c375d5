"""How a patient's own coordinates bend into the scanner's: the spine's curve and a smooth random warp."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.fields import Floats, SmoothField
from harness.data.phantom.shapes import Points, Shape, Vector

_SCALES_MM = ((80.0, 14.0), (28.0, 3.0))
"""Distance between lattice points and standard deviation of each part of the warp."""

_STEP_MM = 14.0
_REACH_MM = ((-250.0, 250.0), (-140.0, 230.0), (-440.0, 420.0))
_CENTRE_Y_MM = 40.0
_STILL_RADII_MM = (135.0, 88.0)
_STILL = 0.35
"""The warp's share at the body's surface: organs move more than the wall that holds them."""

_LEAST_VOLUME = 0.2
"""Nowhere is anatomy pressed below this share of its volume; what folds has less than none."""

Mask = NDArray[np.bool_]
Span = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]


class Warp:
    """A smooth map from the scanner's coordinates to the patient's, in which the spine is straight.

    It is sampled once on a coarse lattice of its own, which shows that it does not fold and where a shape
    of the patient's may come to lie; both are therefore the same whatever grid is painted.

    Args:
        rng: Draws the warp.
        forward_mm: How far the spine's curve carries anatomy to the front, at heights in mm.
        variety: Share of the warp's usual strength.
    """

    def __init__(
        self, rng: np.random.Generator, forward_mm: Callable[[Floats], Floats], variety: float = 1.0
    ) -> None:
        self._fields = [(SmoothField(rng, scale_mm=scale), variety * sd_mm) for scale, sd_mm in _SCALES_MM]
        self.forward_mm = forward_mm
        x, y, z = (np.arange(low, high + _STEP_MM, _STEP_MM, dtype=np.float32) for low, high in _REACH_MM)
        self._axes_mm = (x, y, z)
        moves = self._moves(self._axes_mm)
        self.strength = _unfolded(moves)
        self._nodes = list(self._moved(self._axes_mm, moves))
        self._nodes.append(self._nodes[1] + forward_mm(z))  # y of the whole body
        self._bound()

    def points(self, axes_mm: tuple[Floats, Floats, Floats]) -> Points:
        """Return the patient's coordinates of a grid of the scanner's."""
        return self._moved(axes_mm, self._moves(axes_mm))

    def push(self, centre_mm: Vector, radius_mm: float, share: float) -> None:
        """Make room for a mass, see `pushed`, where shapes are looked for."""
        x, y, z, upright_y = self._nodes
        pushed((x, y, z), centre_mm, radius_mm, share)
        np.add(y, self.forward_mm(self._axes_mm[2]), out=upright_y)
        self._bound()

    def _bound(self) -> None:
        """Find the least and largest coordinate of each plane of nodes."""
        self._bounds = []
        for axis, values in zip((0, 1, 2, 1), self._nodes, strict=True):
            others = tuple(k for k in range(3) if k != axis)
            self._bounds.append((values.min(axis=others), values.max(axis=others)))

    def span(self, shape: Shape, margin_mm: float, *, upright: bool = False) -> Span | None:
        """Return the scanner's coordinates between which a shape of the patient's lies, None if nowhere.

        Args:
            shape: In the patient's coordinates.
            margin_mm: Room to leave round it.
            upright: Its y is that of the whole body, and does not follow the spine's curve.
        """
        kind = 3 if upright else 1
        low, high = (corner.astype(np.float32) for corner in shape.bounds())
        reach = np.float32(margin_mm + 0.7 * _STEP_MM)
        # Whole planes of nodes that lie too far away drop out first.
        planes: list[slice] = []
        for axis, number in enumerate((0, kind, 2)):
            least, most = self._bounds[number]
            found = np.flatnonzero((most > low[axis] - reach) & (least < high[axis] + reach))
            if not len(found):
                return None
            planes.append(slice(int(found[0]), int(found[-1]) + 1))
        box = (planes[0], planes[1], planes[2])
        near: Mask | None = None
        for axis, number in enumerate((0, kind, 2)):
            values = self._nodes[number][box]
            here = (values > low[axis] - reach) & (values < high[axis] + reach)
            near = here if near is None else near & here
        assert near is not None
        ends = []
        for axis, nodes in enumerate(self._axes_mm):
            found = np.flatnonzero(near.any(axis=tuple(k for k in range(3) if k != axis)))
            if not len(found):
                return None
            first, last = (int(index) + planes[axis].start for index in (found[0], found[-1]))
            ends.append(
                (
                    float(nodes[first - 1]) if first > 0 else -np.inf,
                    float(nodes[last + 1]) if last + 1 < len(nodes) else np.inf,
                )
            )
        return ends[0], ends[1], ends[2]

    def _moves(self, axes_mm: tuple[Floats, Floats, Floats]) -> list[Floats]:
        """Return the displacement along x, y, z before it is weakened to keep it from folding."""
        x, y, _ = axes_mm
        wide, deep = (np.float32(radius) for radius in _STILL_RADII_MM)
        off = np.square(x / wide)[:, None] + np.square((y - np.float32(_CENTRE_Y_MM)) / deep)[None, :]
        share = (np.float32(_STILL) + np.float32(1 - _STILL) * np.exp(-np.square(off)))[..., None]
        moves = []
        for axis in range(3):
            total = None
            for number, (field, sd_mm) in enumerate(self._fields):
                part = field.on(axes_mm, offset_mm=170.0 * axis + 17.0 * number)
                part *= np.float32(sd_mm)
                total = part if total is None else total + part
            assert total is not None
            total *= share
            moves.append(total)
        return moves

    def _moved(self, axes_mm: tuple[Floats, Floats, Floats], moves: list[Floats]) -> Points:
        for axis, (move, coordinates) in enumerate(zip(moves, axes_mm, strict=True)):
            move *= np.float32(self.strength)
            move += coordinates.reshape([-1 if other == axis else 1 for other in range(3)])
        moves[1] -= self.forward_mm(axes_mm[2])
        return moves[0], moves[1], moves[2]


def pushed(points: Points, centre_mm: Vector, radius_mm: float, share: float) -> None:
    """Move points so that what lies round a mass is pushed away from its middle, in place.

    A point at a distance d from the middle shows what would lie at d (1 - share exp(-(d / 1.4 r)^2)). For
    shares below 1 that grows with d, so that nothing folds.
    """
    wide = np.float32(1.4 * radius_mm)
    offsets = [p - np.float32(c) for p, c in zip(points, centre_mm, strict=True)]
    squared = np.square(offsets[0]) + np.square(offsets[1]) + np.square(offsets[2])
    shrink = np.float32(share) * np.exp(-squared / np.square(wide))
    for p, offset in zip(points, offsets, strict=True):
        p -= offset * shrink


def pushed_radius_mm(radius_mm: float, share: float) -> float:
    """Return the radius, among pushed points, of a ball that has `radius_mm` on the scanner's grid."""
    return float(radius_mm * (1 - share * np.exp(-1 / 1.4**2)))


def _unfolded(moves: list[Floats]) -> float:
    """Return the largest share of a displacement, up to 1, that leaves every place its volume."""
    gradient: list[list[NDArray[np.floating]]] = [
        list(np.gradient(move, np.float32(_STEP_MM))) for move in moves
    ]
    strength = 1.0
    while strength > 0.1 and _least_volume(gradient, strength) < _LEAST_VOLUME:
        strength *= 0.85
    return strength


def _least_volume(gradient: list[list[NDArray[np.floating]]], strength: float) -> float:
    """Return the least Jacobian determinant of the identity plus a share of a displacement."""
    (a, b, c), (d, e, f), (g, h, i) = (
        [np.float32(strength) * part + np.float32(row == column) for column, part in enumerate(parts)]
        for row, parts in enumerate(gradient)
    )
    return float((a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)).min())
