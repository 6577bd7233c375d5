"""The part of a prediction that lies nearest to each reference lesion: its Voronoi regions.

Every place belongs to the reference lesion whose nearest voxel is nearest, of equals to the one that comes
first (CC-metrics, Jaus et al. 2024; panoptica's regions). Only places that are predicted are asked for, and
those inside a lesion belong to it without a search.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluator.components import border_runs

Runs = NDArray[np.uint64]

_CHUNK_RUNS = 100_000
_NEIGHBOURS = 4
_SAME = 1e-9


def split_by_region(
    prediction: Runs, reference: Runs, numbers: NDArray[np.int64], spacing_mm: tuple[float, float, float]
) -> tuple[Runs, NDArray[np.int64]]:
    """Return the runs of a prediction, cut where regions meet, and the reference lesion of each.

    Args:
        prediction: Its runs, packed and sorted.
        reference: The reference's; at least one.
        numbers: The lesion of each of them.
        spacing_mm: Voxel size along x, y, z that distances are measured with.
    """
    from scipy.spatial import cKDTree

    held, lesions = voxels_of(reference), np.repeat(numbers, _lengths(reference))
    border = border_runs(reference)
    near = border & ~np.uint64(0xFFFF)
    tree = cKDTree(_places(near) * np.array(spacing_mm))
    of_border = lesions[np.searchsorted(held, near)]
    runs, owners = [], []
    for first in range(0, len(prediction), _CHUNK_RUNS):
        voxels = voxels_of(prediction[first : first + _CHUNK_RUNS])
        place = np.minimum(np.searchsorted(held, voxels), len(held) - 1)
        inside = held[place] == voxels
        owner = np.where(inside, lesions[place], 0)
        owner[~inside] = _nearest(tree, of_border, _places(voxels[~inside]) * np.array(spacing_mm))
        cut_runs, cut_owners = _joined(voxels, owner)
        runs.append(cut_runs)
        owners.append(cut_owners)
    if not runs:
        return prediction, np.empty(0, np.int64)
    return np.concatenate(runs), np.concatenate(owners)


def voxels_of(runs: Runs) -> NDArray[np.uint64]:
    """Return the voxels of runs in order, packed as runs whose last x is not said: z, y, x and 0."""
    lengths = _lengths(runs)
    begins = np.repeat(runs & ~np.uint64(0xFFFF), lengths)
    steps = np.arange(len(begins)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return np.asarray(begins + (steps.astype(np.uint64) << np.uint64(16)))


def _lengths(runs: Runs) -> NDArray[np.int64]:
    low = np.uint64(0xFFFF)
    return np.asarray(((runs & low) - (runs >> np.uint64(16) & low)).astype(np.int64) + 1)


def _places(voxels: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return voxels as n x 3 on axes x, y, z."""
    low = np.uint64(0xFFFF)
    return np.stack([voxels >> np.uint64(shift) & low for shift in (16, 32, 48)], axis=1).astype(np.float64)


def _nearest(tree: object, numbers: NDArray[np.int64], places: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the lesion of the nearest border voxel, of equals the first one."""
    from scipy.spatial import cKDTree

    assert isinstance(tree, cKDTree)
    if not len(places):
        return np.empty(0, np.int64)
    count = min(_NEIGHBOURS, len(numbers))
    distances, indices = tree.query(places, k=np.arange(1, count + 1))
    equal = distances <= distances[:, :1] * (1 + _SAME)
    owner = np.where(equal, numbers[indices], np.iinfo(np.int64).max).min(axis=1)
    for row in np.flatnonzero(equal.all(axis=1)) if count < len(numbers) else ():
        alike = tree.query_ball_point(places[row], distances[row, 0] * (1 + _SAME))
        owner[row] = numbers[alike].min()
    return np.asarray(owner)


def _joined(voxels: NDArray[np.uint64], owners: NDArray[np.int64]) -> tuple[Runs, NDArray[np.int64]]:
    """Return runs of neighbouring voxels along x of one owner, and the owners."""
    step = np.uint64(1 << 16)
    begins = np.ones(len(voxels), np.bool_)
    begins[1:] = (voxels[1:] != voxels[:-1] + step) | (owners[1:] != owners[:-1])
    ends = np.append(begins[1:], True)
    last = voxels[ends] >> np.uint64(16) & np.uint64(0xFFFF)
    return voxels[begins] | last, owners[begins]
