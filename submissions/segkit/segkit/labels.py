"""From logits on the network's grid to labels on the CT's, exactly or at the network's resolution.

`labels_from_logits` interpolates linearly and takes the arg-max. It is exact, yet most voxels cost next to
nothing. A voxel's interpolated logits are weighted means of those at the eight corners of its cell of the
network's grid, so where one label wins at all eight corners, it wins at the voxel. Only the cells where
labels meet are interpolated, a few per cent of a volume.

`winners` and `enlarged` go the other way round: the arg-max on the network's grid, then the nearest voxel.
Faster still, and boundaries have steps of the size of the network's voxels. Between the two nothing but a
byte for each voxel of that grid is kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from segkit.resample import in_threads, linear_taps


def labels_from_logits(
    logits: np.ndarray, out: np.ndarray, leave_out: Sequence[int] = (), *, threads: int | None = None
) -> None:
    """Fill `out` with the arg-max of the logits resampled linearly to its size.

    Of equal logits the lowest label wins.

    Args:
        logits: float32, shape (class, z, y, x); class 0 is the background.
        out: uint8 array (z, y, x) of the size wanted, overwritten.
        leave_out: Classes that are never chosen.
        threads: CPU threads; what this process may use if None.
    """
    classes = _without(leave_out, logits)
    winner, present = _winners(logits, classes, threads)
    lower, upper, weight = linear_taps(logits.shape[1], out.shape[0])
    grid = PlaneGrid.between(logits.shape[2:], out.shape[1:])

    def run(part: range) -> None:
        first = part.start
        while first < part.stop:
            # Slices between the same two planes of logits share everything but their weight.
            last = first + 1
            while last < part.stop and lower[last] == lower[first] and upper[last] == upper[first]:
                last += 1
            below, above = int(lower[first]), int(upper[first])
            rivals = [
                label for label in classes if label == 0 or present[below, label] or present[above, label]
            ]
            _fill_slices(
                logits[:, below],
                logits[:, above],
                winner[below],
                winner[above],
                rivals=rivals,
                grid=grid,
                weights=weight[first:last],
                out=out[first:last],
            )
            first = last

    in_threads(run, out.shape[0], threads)


def winners(logits: np.ndarray, leave_out: Sequence[int] = (), *, threads: int | None = None) -> np.ndarray:
    """The arg-max of the logits where they lie, on the network's grid.

    Of equal logits the lowest label wins.

    Args:
        logits: float32, shape (class, z, y, x); class 0 is the background.
        leave_out: Classes that are never chosen.
        threads: CPU threads; what this process may use if None.

    Returns:
        uint8, shape (z, y, x).
    """
    return _winners(logits, _without(leave_out, logits), threads)[0]


def enlarged(labels: np.ndarray, out: np.ndarray, *, threads: int | None = None) -> None:
    """Fill `out` with a label map resampled to its size by the nearest voxel.

    With half-pixel centres: voxel i of n_out takes voxel floor((i + 0.5) * n_in / n_out), torch's
    "nearest-exact".

    Args:
        labels: uint8, shape (z, y, x).
        out: uint8 array (z, y, x) of the size wanted, overwritten.
        threads: CPU threads; what this process may use if None.
    """
    planes, rows, columns = (
        (2 * np.arange(wanted) + 1) * have // (2 * wanted)
        for have, wanted in zip(labels.shape, out.shape, strict=True)
    )

    def run(part: range) -> None:
        for z in part:
            if z > part.start and planes[z] == planes[z - 1]:
                out[z] = out[z - 1]
            else:
                out[z] = labels[planes[z]].take(columns, axis=1).take(rows, axis=0)

    in_threads(run, out.shape[0], threads)


@dataclass(frozen=True)
class PlaneGrid:
    """How the pixels of a plane lie between those of a coarser or finer one.

    Attributes:
        rows, columns: Lower and upper source index of each row and column.
        row_weight, column_weight: Weight of the upper one.
    """

    rows: tuple[np.ndarray, np.ndarray]
    columns: tuple[np.ndarray, np.ndarray]
    row_weight: np.ndarray
    column_weight: np.ndarray

    @classmethod
    def between(cls, shape_in: tuple[int, ...], shape_out: tuple[int, ...]) -> PlaneGrid:
        """The grid from a plane of logits (y, x) to a plane of labels (y, x)."""
        *rows, row_weight = linear_taps(shape_in[0], shape_out[0])
        *columns, column_weight = linear_taps(shape_in[1], shape_out[1])
        return cls((rows[0], rows[1]), (columns[0], columns[1]), row_weight, column_weight)


def _without(leave_out: Sequence[int], logits: np.ndarray) -> list[int]:
    return [label for label in range(logits.shape[0]) if label not in leave_out]


def _winners(
    logits: np.ndarray, classes: Sequence[int], threads: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The arg-max per voxel of the network's grid, and per plane which classes beat the background anywhere.

    A class that beats it at no corner of a cell cannot win inside, so others need not be looked at.
    """
    winner = np.zeros(logits.shape[1:], dtype=np.uint8)
    present = np.zeros((logits.shape[1], logits.shape[0]), dtype=bool)
    floor = np.float32(-np.inf)

    def run(part: range) -> None:
        for z in part:
            background = logits[0, z] if 0 in classes else np.full(logits.shape[2:], floor)
            best = background.copy()
            for label in classes:
                if label == 0:
                    continue
                value = logits[label, z]
                present[z, label] = bool((value > background).any())
                if present[z, label]:
                    winner[z][value > best] = label
                    np.maximum(best, value, out=best)

    in_threads(run, logits.shape[1], threads)
    return winner, present


def _fill_slices(
    below: np.ndarray,
    above: np.ndarray,
    winner_below: np.ndarray,
    winner_above: np.ndarray,
    *,
    rivals: Sequence[int],
    grid: PlaneGrid,
    weights: np.ndarray,
    out: np.ndarray,
) -> None:
    """Label the slices between two planes of logits.

    Args:
        below: Logits (class, y, x) of the lower plane.
        above: Logits of the upper plane.
        winner_below: Arg-max (y, x) of the lower plane.
        winner_above: Arg-max of the upper plane.
        rivals: The classes that may win, the background first.
        grid: From the planes to the slices.
        weights: Weight of the upper plane for each slice.
        out: The slices (z, y, x).
    """
    if len(rivals) == 1:
        out[...] = rivals[0]
        return
    (top, bottom), (left, right) = grid.rows, grid.columns
    out[...] = winner_below[top][:, left]
    mixed = mixed_cells(winner_below, winner_above)
    ys, xs = np.nonzero(mixed[top][:, left])
    if ys.size == 0:
        return
    width = below.shape[2]
    corners = [(row[ys] * width + column[xs]) for row in (top, bottom) for column in (left, right)]
    down, across = grid.row_weight[ys], grid.column_weight[xs]
    best = [np.full(ys.size, -np.inf, dtype=np.float32) for _ in weights]
    chosen = [np.zeros(ys.size, dtype=np.uint8) for _ in weights]
    for label in rivals:
        low = interpolated(below[label], corners, down, across)
        step = interpolated(above[label], corners, down, across)
        step -= low
        for weight, value_so_far, label_so_far in zip(weights, best, chosen, strict=True):
            value = step * weight
            value += low
            label_so_far[value > value_so_far] = label
            np.maximum(value_so_far, value, out=value_so_far)
    for plane, label_here in zip(out, chosen, strict=True):
        plane[ys, xs] = label_here


def mixed_cells(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Per cell, named by its upper left corner (y, x), whether its eight corners differ."""
    differs = below != above
    across = below[:, 1:] != below[:, :-1]
    down = below[1:] != below[:-1]
    mixed = differs.copy()
    mixed[:, :-1] |= differs[:, 1:] | across
    mixed[:-1] |= differs[1:] | down
    mixed[:-1, :-1] |= differs[1:, 1:] | across[1:] | down[:, 1:]
    return mixed


def interpolated(
    plane: np.ndarray, corners: Sequence[np.ndarray], down: np.ndarray, across: np.ndarray
) -> np.ndarray:
    """Values between the four corners of cells of a plane, bilinearly.

    Args:
        plane: Values (y, x).
        corners: Flat index of the upper left, upper right, lower left and lower right corner of each.
        down, across: Weight of the lower and of the right ones.
    """
    flat = plane.ravel()
    value, right, low, low_right = (flat[corner] for corner in corners)
    right -= value
    right *= across
    value += right
    low_right -= low
    low_right *= across
    low += low_right
    low -= value
    low *= down
    value += low
    return value
