"""Smooth random fields: the same patient has the same field at any sampling."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class SmoothField:
    """A random function of position: cubic B-splines on a lattice of independent normal numbers.

    Args:
        rng: Draws the lattice.
        scale_mm: Distance between lattice points; features are about twice as large.
        extent_mm: The field covers the cube from -extent to +extent on each axis, and is clamped outside.
    """

    def __init__(self, rng: np.random.Generator, *, scale_mm: float, extent_mm: float = 360.0) -> None:
        self._scale_mm = scale_mm
        self._count = int(np.ceil(2 * extent_mm / scale_mm)) + 4
        self._start_mm = -extent_mm - scale_mm
        self._lattice = rng.standard_normal((self._count,) * 3, dtype=np.float32) * 1.6

    def on(self, axes_mm: tuple[Floats, Floats, Floats], *, offset_mm: float = 0.0) -> Floats:
        """Return the field, about unit variance, on the grid of three coordinate axes in mm.

        Args:
            axes_mm: Coordinates along x, y, z.
            offset_mm: Shifts the field, which gives an almost independent one for free.
        """
        values = self._lattice
        for axis, coordinates in enumerate(axes_mm):
            basis = self._basis(coordinates + np.float32(offset_mm * (1.0 + 0.37 * axis)))
            values = np.moveaxis(np.tensordot(basis, values, axes=(1, axis)), 0, axis)
        return np.ascontiguousarray(values)

    def _basis(self, coordinates: Floats) -> Floats:
        """Return the cubic B-spline weights of each coordinate over the lattice points."""
        position = np.clip((coordinates - self._start_mm) / self._scale_mm, 1.0, self._count - 2.001)
        first = np.floor(position).astype(int) - 1
        t = (position - np.floor(position)).astype(np.float32)
        weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        basis = np.zeros((len(coordinates), self._count), np.float32)
        rows = np.arange(len(coordinates))
        for step, weight in enumerate(weights):
            basis[rows, np.clip(first + step, 0, self._count - 1)] += weight / 6
        return basis
