"""Smooth random fields: functions of the patient, so that every sampling grid sees the same ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_LATTICE_DEVIATION = 1.6
"""Makes the field's standard deviation about 1: a cubic B-spline averages over its neighbours."""

_PERIOD_MM = 1000.0
_FEWEST_POINTS, _MOST_POINTS = 12, 64


class SmoothField:
    """A random function of position: cubic B-splines on a periodic lattice of independent normal numbers.

    It is summed up tap by tap, without matrix products, so that the bits do not depend on the linear
    algebra library or its number of threads.

    Args:
        rng: Draws the lattice.
        scale_mm: Distance between lattice points; features are about twice as large. The field repeats
            itself after 64 points or about a metre, whichever comes first.
    """

    def __init__(self, rng: np.random.Generator, *, scale_mm: float) -> None:
        self._scale_mm = scale_mm
        self._count = int(np.clip(np.ceil(_PERIOD_MM / scale_mm), _FEWEST_POINTS, _MOST_POINTS))
        lattice = rng.standard_normal((self._count,) * 3, dtype=np.float32)
        self._lattice = lattice * np.float32(_LATTICE_DEVIATION)

    def on(self, axes_mm: tuple[Floats, Floats, Floats], *, offset_mm: float = 0.0) -> Floats:
        """Return the field, about unit variance, on the grid of three coordinate axes in mm.

        Args:
            axes_mm: Coordinates along x, y, z.
            offset_mm: Shifts the field, which gives an almost independent one for free.
        """
        taps = [
            self._taps(coordinates + np.float32(offset_mm * (1.0 + 0.37 * axis)))
            for axis, coordinates in enumerate(axes_mm)
        ]
        if any(not len(first) for first, _ in taps):
            return np.empty([len(first) for first, _ in taps], np.float32)
        # Only the part of the lattice that matters; boxes are much smaller than the patient.
        used = [np.arange(int(first.min()), int(first.max()) + 4) % self._count for first, _ in taps]
        values = self._lattice[np.ix_(*used)]
        # x last: then the only steps of full size copy whole planes.
        for axis in (2, 1, 0):
            first, weights = taps[axis]
            first = first - first.min()
            shape = [-1 if other == axis else 1 for other in range(3)]
            total = np.take(values, first, axis=axis)
            total *= weights[0].reshape(shape)
            term = np.empty_like(total)
            for tap in (1, 2, 3):
                np.take(values, first + tap, axis=axis, out=term, mode="clip")
                term *= weights[tap].reshape(shape)
                total += term
            values = total
        return values

    def _taps(self, coordinates: Floats) -> tuple[NDArray[np.intp], tuple[Floats, ...]]:
        """Return the first of the four lattice points around each coordinate, and their weights."""
        position = coordinates / np.float32(self._scale_mm)
        whole = np.floor(position)
        t = (position - whole).astype(np.float32)
        weights = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
        sixth = np.float32(1 / 6)
        return whole.astype(np.intp) - 1, tuple(np.asarray(weight * sixth, np.float32) for weight in weights)
