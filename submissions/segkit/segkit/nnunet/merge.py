"""From what each configuration gives on its own grid to one label map on the image's, in bounded memory.

Probabilities of several configurations are averaged voxel by voxel, as nnU-Net's ensemble does, without any
of them being kept in full size. Where every configuration gives one and the same answer at all corners of
its grid's cells, interpolation and averaging cannot change it, so only voxels where answers meet are
interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.labels import PlaneGrid, interpolated, mixed_cells
from segkit.nnunet.sliding import sigmoid, softmax
from segkit.plan import Resampling
from segkit.reference import axis_apart
from segkit.resample import in_threads, linear_taps

_ROWS = 2**18


@dataclass(frozen=True)
class Grid:
    """What a configuration gives.

    Attributes:
        values: Logits, or probabilities where they were averaged as such, float32 (output, z, y, x), axes
            laid out like the image's.
        apart: The axis along which values are taken from the nearest slice; None for linear on all axes.
    """

    values: np.ndarray
    apart: int | None


def grid_of(
    values: np.ndarray,
    transpose: Sequence[int],
    spacings_mm: tuple[Sequence[float], Sequence[float]],
    how: Resampling,
) -> Grid:
    """The grid of a configuration, its axes put back.

    Args:
        values: (output, z, y, x), transposed.
        transpose: For each of its axes, the image's.
        spacings_mm: Its spacing and the image's, transposed; they decide whether slices stay apart.
        how: The plans' resampling; linear in a plane.
    """
    back = np.argsort(transpose)
    apart = axis_apart(spacings_mm, how.separate_z) if how.order_z == 0 else None
    return Grid(values.transpose(0, *(1 + back)), None if apart is None else int(transpose[apart]))


def merge(
    grids: Sequence[Grid],
    out: np.ndarray,
    regions_order: Sequence[int],
    *,
    probabilities: bool,
    threads: int | None = None,
) -> None:
    """Fill `out` with the labels of the averaged configurations.

    Args:
        grids: One for each configuration.
        out: uint8 (z, y, x) of the size wanted, overwritten.
        regions_order: Value that each region writes in turn; empty where labels exclude each other.
        probabilities: Whether the grids hold probabilities already.
        threads: CPU threads; what this process may use if None.
    """
    deciders = _Deciders(tuple(regions_order), probabilities, len(grids))
    parts = [_Part.of(grid, out.shape, deciders) for grid in grids]

    def run(slices: range) -> None:
        for z in slices:
            _fill(parts, z, out[z], deciders)

    in_threads(run, out.shape[0], threads)


@dataclass(frozen=True)
class _Deciders:
    """How numbers become labels.

    Attributes:
        regions: Value that each region writes; empty for labels.
        probabilities: Whether numbers are probabilities.
        members: How many are averaged.
    """

    regions: tuple[int, ...]
    probabilities: bool
    members: int

    def answers(self, values: np.ndarray) -> np.ndarray:
        """What a plane of numbers (output, y, x) says alone: a label, or a bit for each region."""
        if not self.regions:
            return values.argmax(axis=0).astype(np.int64)
        present = np.zeros(values.shape[1:], dtype=np.int64)
        for bit, plane in enumerate(values):
            present |= (plane > self._even).astype(np.int64) << bit
        return present

    @property
    def _even(self) -> float:
        return 0.5 if self.probabilities else 0.0

    def labels_of(self, answers: np.ndarray) -> np.ndarray:
        """The labels that answers mean."""
        if not self.regions:
            return answers.astype(np.uint8)
        labels = np.zeros(answers.shape, dtype=np.uint8)
        for bit, value in enumerate(self.regions):
            labels[(answers >> bit) & 1 == 1] = value
        return labels

    def certain(self, values: np.ndarray) -> np.ndarray:
        """Numbers (output, n) as they are averaged; those of one member alone need no probabilities."""
        if self.probabilities or self.members == 1:
            return values
        return sigmoid(values) if self.regions else softmax(values, axis=0)

    def decide(self, mean: np.ndarray) -> np.ndarray:
        """Labels of averaged numbers (output, n)."""
        if not self.regions:
            return mean.argmax(axis=0).astype(np.uint8)
        even = 0.0 if self.members == 1 and not self.probabilities else 0.5
        labels = np.zeros(mean.shape[1], dtype=np.uint8)
        for value, plane in zip(self.regions, mean, strict=True):
            labels[plane > even] = value
        return labels


@dataclass(frozen=True)
class _Part:
    """A grid with its answers and the places that each slice lies between.

    Attributes:
        values, answers: Numbers (output, z, y, x) and what each voxel says alone.
        lower, upper, weight: The planes that each slice lies between, and the weight of the upper.
        plane: The same in a plane.
    """

    values: np.ndarray
    answers: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    weight: np.ndarray
    plane: PlaneGrid

    @classmethod
    def of(cls, grid: Grid, shape: Sequence[int], deciders: _Deciders) -> _Part:
        answers = np.stack([deciders.answers(grid.values[:, z]) for z in range(grid.values.shape[1])])
        taps = [
            _nearest(have, want) if grid.apart == axis else linear_taps(have, want)
            for axis, (have, want) in enumerate(zip(grid.values.shape[1:], shape, strict=True))
        ]
        plane = PlaneGrid((taps[1][0], taps[1][1]), (taps[2][0], taps[2][1]), taps[1][2], taps[2][2])
        return cls(grid.values, answers, *taps[0], plane)

    def between(self, z: int) -> tuple[np.ndarray, np.ndarray]:
        """What the upper left corner of each voxel's cell says, and whether the cell's corners differ."""
        below, above = self.answers[self.lower[z]], self.answers[self.upper[z]]
        top, left = self.plane.rows[0], self.plane.columns[0]
        return below[top][:, left], mixed_cells(below, above)[top][:, left]

    def at(self, z: int, ys: np.ndarray, xs: np.ndarray) -> np.ndarray:
        """Interpolated numbers (output, n) of some voxels of a slice."""
        (top, bottom), (left, right) = self.plane.rows, self.plane.columns
        width = self.values.shape[3]
        corners = [row[ys] * width + column[xs] for row in (top, bottom) for column in (left, right)]
        down, across = self.plane.row_weight[ys], self.plane.column_weight[xs]
        found = np.empty((self.values.shape[0], ys.size), dtype=np.float32)
        for output, volume in enumerate(self.values):
            value = interpolated(volume[self.lower[z]], corners, down, across)
            if self.weight[z]:
                value += self.weight[z] * (interpolated(volume[self.upper[z]], corners, down, across) - value)
            found[output] = value
        return found


def _nearest(have: int, want: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    position = (np.arange(want) + 0.5) * (have / want) - 0.5
    index = np.clip(np.floor(position + 0.5).astype(np.int64), 0, have - 1)
    return index, index, np.zeros(want, dtype=np.float32)


def _fill(parts: Sequence[_Part], z: int, out: np.ndarray, deciders: _Deciders) -> None:
    first, unsure = parts[0].between(z)
    for part in parts[1:]:
        other, mixed = part.between(z)
        unsure = unsure | mixed | (other != first)
    out[...] = deciders.labels_of(first)
    ys, xs = np.nonzero(unsure)
    for start in range(0, ys.size, _ROWS):
        some = slice(start, start + _ROWS)
        total = deciders.certain(parts[0].at(z, ys[some], xs[some]))
        for part in parts[1:]:
            total = total + deciders.certain(part.at(z, ys[some], xs[some]))
        out[ys[some], xs[some]] = deciders.decide(total / np.float32(len(parts)))
