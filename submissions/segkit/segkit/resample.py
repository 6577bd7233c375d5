"""Linear resampling of images down to the network's grid.

With half-pixel centres and clamped at the border, as nnU-Net and torch's interpolation with
align_corners=False do: voxel i of n_out lies at (i + 0.5) * n_in / n_out - 0.5 of the source.
Interpolation is separable, so slices are done in plane first and blended along z after, which keeps
the memory at a few slices whatever the size of the volume.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from segkit.cpu import usable_cpus

Shape = tuple[int, int, int]


def grid_shape(shape: Shape, spacing_mm: Sequence[float], target_mm: Sequence[float]) -> Shape:
    """The size of a volume on another spacing, rounded as nnU-Net rounds, one voxel at least."""
    sizes = [
        max(1, round(have / want * size))
        for size, have, want in zip(shape, spacing_mm, target_mm, strict=True)
    ]
    return (sizes[0], sizes[1], sizes[2])


def affordable_shape(shape: Shape, smallest: Sequence[int], voxels: float) -> Shape:
    """A grid of no more voxels than there is memory for; it is coarser along the axes that may shrink.

    A header that claims metres of patient would ask for a grid of any size.

    Args:
        shape: The grid wanted.
        smallest: No axis gets smaller than this; one that is smaller already counts as this large, since
            it is padded.
        voxels: The most voxels.
    """
    excess = float(np.prod(np.maximum(shape, smallest), dtype=np.float64)) / voxels
    may_shrink = [size > least for size, least in zip(shape, smallest, strict=True)]
    if excess <= 1 or not any(may_shrink):
        return shape
    by = excess ** (1 / sum(may_shrink))
    sizes = [
        max(least, int(size / by)) if shrinks else size
        for size, least, shrinks in zip(shape, smallest, may_shrink, strict=True)
    ]
    # Once more where an axis met its least size before it gave its share.
    return affordable_shape((sizes[0], sizes[1], sizes[2]), smallest, voxels)


def linear_taps(size_in: int, size_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each output position: the lower source index, the upper one, and the weight of the upper."""
    position = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
    position = np.clip(position, 0, size_in - 1)
    lower = np.floor(position).astype(np.int64)
    upper = np.minimum(lower + 1, size_in - 1)
    return lower, upper, (position - lower).astype(np.float32)


def resample_image(
    array: np.ndarray,
    shape: Shape,
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
    *,
    threads: int | None = None,
) -> np.ndarray:
    """Resample a volume linearly.

    Args:
        array: Any real numbers, shape (z, y, x).
        shape: The size wanted (z, y, x).
        prepare: Applied voxel by voxel before resampling, to no more voxels than are needed; must return
            float32. The numbers as they are if None.
        threads: CPU threads; what this process may use if None.

    Returns:
        float32 array of the wanted size.
    """
    prepared = prepare or _as_float32
    result = np.empty(shape, dtype=np.float32)
    lower, upper, weight = linear_taps(array.shape[0], shape[0])
    rows, columns = linear_taps(array.shape[1], shape[1]), linear_taps(array.shape[2], shape[2])

    def run(part: range) -> None:
        kept: dict[int, np.ndarray] = {}
        for z in part:
            needed = (int(lower[z]), int(upper[z]))
            kept = {
                source: kept[source] if source in kept else _resized(array[source], rows, columns, prepared)
                for source in needed
            }
            below, above = kept[needed[0]], kept[needed[1]]
            np.multiply(above - below, weight[z], out=result[z])
            result[z] += below

    in_threads(run, shape[0], threads)
    return result


def in_threads(run: Callable[[range], None], count: int, threads: int | None = None) -> None:
    """Call `run` with consecutive parts of range(count), one for each thread."""
    threads = min(threads or usable_cpus(), count)
    if threads <= 1:
        run(range(count))
        return
    bounds = [count * number // threads for number in range(threads + 1)]
    parts = [range(first, last) for first, last in itertools.pairwise(bounds)]
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(run, part) for part in parts]:
            done.result()


def _as_float32(plane: np.ndarray) -> np.ndarray:
    return plane.astype(np.float32)


def _resized(
    plane: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray, np.ndarray],
    prepare: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    lower, upper, weight = rows
    below, above = prepare(plane[lower]), prepare(plane[upper])
    above -= below
    above *= weight[:, None]
    above += below
    lower, upper, weight = columns
    left, right = above[:, lower], above[:, upper]
    right -= left
    right *= weight
    right += left
    return right
