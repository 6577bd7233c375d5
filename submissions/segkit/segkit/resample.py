"""Linear resampling of images down to the network's grid, and of logits up to labels.

Both use half-pixel centres and clamp at the border, as nnU-Net and torch's interpolation with
align_corners=False do: voxel i of n_out lies at (i + 0.5) * n_in / n_out - 0.5 of the source.
Interpolation is separable, so slices are done in plane first and blended along z after, which keeps
the memory at a few slices whatever the size of the volume.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch.nn import functional

Shape = tuple[int, int, int]


def grid_shape(shape: Shape, spacing_mm: Sequence[float], target_mm: Sequence[float]) -> Shape:
    """The size of a volume on another spacing, rounded as nnU-Net rounds, one voxel at least."""
    sizes = [
        max(1, round(have / want * size))
        for size, have, want in zip(shape, spacing_mm, target_mm, strict=True)
    ]
    return (sizes[0], sizes[1], sizes[2])


def linear_taps(size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output position: the lower source index, the upper one, and the weight of the upper."""
    position = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    position = np.clip(position, 0, size_in - 1)
    lower = np.floor(position).astype(np.int64)
    upper = np.minimum(lower + 1, size_in - 1)
    return lower, upper, (position - lower).astype(np.float32)


def resample_image(
    array: np.ndarray, shape: Shape, prepare: Callable[[np.ndarray], np.ndarray] = np.float32
) -> np.ndarray:
    """Resample a volume linearly.

    Args:
        array: Any real numbers, shape (z, y, x).
        shape: The size wanted (z, y, x).
        prepare: Applied to each slice (y, x) before resampling; must return float32.

    Returns:
        float32 array of the wanted size.
    """
    result = np.empty(shape, dtype=np.float32)
    lower, upper, weight = linear_taps(array.shape[0], shape[0])
    kept: dict[int, np.ndarray] = {}
    for z in range(shape[0]):
        needed = (int(lower[z]), int(upper[z]))
        kept = {
            source: kept[source] if source in kept else _resized_plane(prepare(array[source]), shape[1:])
            for source in needed
        }
        below, above = kept[needed[0]], kept[needed[1]]
        np.multiply(above - below, weight[z], out=result[z])
        result[z] += below
    return result


def labels_from_logits(logits: np.ndarray, out: np.ndarray, leave_out: Sequence[int] = ()) -> None:
    """Fill `out` with the arg-max of the logits resampled linearly to its size.

    Exact, yet it looks only where something is to be found: an interpolated value is a weighted mean
    of eight neighbours, so a class can beat the background only next to a voxel where it already
    does. Each class is interpolated inside the box of those voxels and compared with the best so far.

    Args:
        logits: float32, shape (class, z, y, x); class 0 is the background.
        out: uint8 array of the size wanted, overwritten.
        leave_out: Classes that are never chosen.
    """
    shape = out.shape
    z_lower, z_upper, z_weight = linear_taps(logits.shape[1], shape[0])
    rows = _Interpolation(logits.shape[2], shape[1])
    columns = _Interpolation(logits.shape[3], shape[2])
    boxes = {
        label: _boxes_by_slice(logits[label] > logits[0])
        for label in range(1, logits.shape[0])
        if label not in leave_out
    }
    out[...] = 0
    for z in range(shape[0]):
        pair = (int(z_lower[z]), int(z_upper[z]))
        found = {label: _joined(boxes[label][pair[0]], boxes[label][pair[1]]) for label in boxes}
        found = {label: box for label, box in found.items() if box is not None}
        if not found:
            continue
        whole = _enclosing(found.values())
        y_whole, x_whole = rows.touched(*whole[:2]), columns.touched(*whole[2:])

        def interpolated(
            label: int, ys: slice, xs: slice, pair: tuple[int, int] = pair, weight: np.float32 = z_weight[z]
        ) -> np.ndarray:
            ys_in, y_matrix = rows.of(ys)
            xs_in, x_matrix = columns.of(xs)
            below = logits[label, pair[0], ys_in, xs_in]
            above = logits[label, pair[1], ys_in, xs_in]
            return y_matrix @ (below + weight * (above - below)) @ x_matrix.T

        best = interpolated(0, y_whole, x_whole)
        plane = out[z]
        for label, box in found.items():
            ys, xs = rows.touched(*box[:2]), columns.touched(*box[2:])
            value = interpolated(label, ys, xs)
            have = best[_within(ys, y_whole), _within(xs, x_whole)]
            plane[ys, xs][value > have] = label
            np.maximum(have, value, out=have)


class _Interpolation:
    """Linear interpolation along one axis as a matrix, of which any rows can be taken."""

    def __init__(self, size_in: int, size_out: int):
        self.lower, self.upper, weight = linear_taps(size_in, size_out)
        self.matrix = np.zeros((size_out, size_in), dtype=np.float32)
        everywhere = np.arange(size_out)
        np.add.at(self.matrix, (everywhere, self.lower), 1 - weight)
        np.add.at(self.matrix, (everywhere, self.upper), weight)

    def touched(self, first: int, last: int) -> slice:
        """The outputs that draw on any source index from `first` to `last`."""
        start = int(np.searchsorted(self.upper, first, side="left"))
        stop = int(np.searchsorted(self.lower, last, side="right"))
        return slice(start, max(stop, start))

    def of(self, outputs: slice) -> tuple[slice, np.ndarray]:
        """The sources of some outputs, and the matrix from those to these."""
        if outputs.start == outputs.stop:
            return slice(0, 0), self.matrix[0:0, 0:0]
        sources = slice(int(self.lower[outputs.start]), int(self.upper[outputs.stop - 1]) + 1)
        return sources, self.matrix[outputs, sources]


def _resized_plane(plane: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    tensor = torch.from_numpy(np.ascontiguousarray(plane))[None, None]
    return functional.interpolate(tensor, size=shape, mode="bilinear", align_corners=False)[0, 0].numpy()


def _boxes_by_slice(mask: np.ndarray) -> list[tuple[int, int, int, int] | None]:
    by_row, by_column = mask.any(axis=2), mask.any(axis=1)
    boxes: list[tuple[int, int, int, int] | None] = []
    for z in range(mask.shape[0]):
        rows, columns = np.flatnonzero(by_row[z]), np.flatnonzero(by_column[z])
        boxes.append((int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])) if rows.size else None)
    return boxes


def _joined(
    one: tuple[int, int, int, int] | None, other: tuple[int, int, int, int] | None
) -> tuple[int, int, int, int] | None:
    present = [box for box in (one, other) if box is not None]
    return _enclosing(present) if present else None


def _enclosing(boxes) -> tuple[int, int, int, int]:
    first_row, last_row, first_column, last_column = zip(*boxes, strict=True)
    return min(first_row), max(last_row), min(first_column), max(last_column)


def _within(inner: slice, outer: slice) -> slice:
    return slice(inner.start - outer.start, inner.stop - outer.start)
