"""Counts and surfaces of every label of a pair of volumes."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.areas import CODES, corner_areas
from evaluator.distances import Spacing, measure_distances, measure_distances_as_scipy
from evaluator.errors import RequestError
from evaluator.labels import Label
from evaluator.runs import LABELS, LARGEST_AXIS, LabelRuns, find_runs
from evaluator.surface import NO_BALL, Ball, balls, compare_label

# If one label needs more than this, half a GiB, its ball is not walked; only balls of very many voxels do.
_LARGEST_SCRATCH_WORDS = 64 << 20
_NO_SCRATCH = np.empty(0, np.uint64)
_thread = threading.local()

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class LabelMeasures:
    """What was counted for one label. `scored_` and the overlap refer to the slices that are scored.

    Attributes:
        reference_voxels: In the whole reference.
        prediction_voxels: In the whole prediction.
        scored_reference_voxels: In the scored slices of the reference.
        scored_prediction_voxels: In the scored slices of the prediction.
        overlap_voxels: In both, in the scored slices.
        nsd: Surface Dice at the label's tolerance; 0 where a surface is missing.
        hd95_mm: 95th percentile of the surface distances, if asked for.
        assd_mm: Average symmetric surface distance, if asked for.
    """

    reference_voxels: int
    prediction_voxels: int
    scored_reference_voxels: int
    scored_prediction_voxels: int
    overlap_voxels: int
    nsd: float
    hd95_mm: float | None = None
    assd_mm: float | None = None


def measure_labels(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    labels: Sequence[Label],
    *,
    area_spacing_mm: Spacing,
    distance_spacing_mm: Spacing,
    crop: Sequence[bool],
    surface_distances: bool = False,
    threads: int | None = None,
) -> list[LabelMeasures]:
    """Measure every label of a pair of volumes on the same grid.

    Args:
        reference: Labels on axes x, y, z; fastest if x is the fastest axis in memory.
        prediction: The same.
        labels: What to measure.
        area_spacing_mm: Voxel size along x, y, z that weighs surface elements and volumes.
        distance_spacing_mm: Voxel size along x, y, z that distances are measured with.
        crop: For each label, whether only the slices from the reference's first to the one before its last
            count.
        surface_distances: Compute HD95 and ASSD as well.
        threads: How many threads may work; by default one per usable core.

    Returns:
        One record per label, in the order of `labels`.
    """
    if max(reference.shape) > LARGEST_AXIS:
        raise RequestError(f"an axis of more than {LARGEST_AXIS} voxels", mend="Cut the volume into parts")
    threads = threads or usable_cores()
    wanted = np.zeros(LABELS, np.bool_)
    wanted[[label.value for label in labels]] = True
    volumes = [np.ascontiguousarray(volume.T) for volume in (reference, prediction)]
    pieces = max(1, min(volumes[0].shape[0], 4 * threads)) if threads > 1 else 1

    def spread(function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        return map(function, items) if threads == 1 else _pool(threads, os.getpid()).map(function, items)

    truth, found = (find_runs(volume, wanted, spread, pieces) for volume in volumes)

    def measure(index: int) -> LabelMeasures:
        return _measure_label(
            truth,
            found,
            labels[index],
            area_spacing_mm,
            distance_spacing_mm,
            crop[index],
            surface_distances,
        )

    # The labels with the largest surface first, so that the last one to finish is a short one.
    order = sorted(range(len(labels)), key=lambda i: -len(truth.of(labels[i].value)))
    measures = dict(zip(order, spread(measure, order), strict=True))
    return [measures[index] for index in range(len(labels))]


def _measure_label(
    truth: LabelRuns,
    found: LabelRuns,
    label: Label,
    area_spacing_mm: Spacing,
    distance_spacing_mm: Spacing,
    crop: bool,
    with_distances: bool,
) -> LabelMeasures:
    runs, other_runs = truth.of(label.value), found.of(label.value)
    reference_voxels = scored_reference = int(truth.voxels[label.value])
    prediction_voxels = scored_prediction = int(found.voxels[label.value])
    if crop and reference_voxels:
        first, last = int(runs[0] >> np.uint64(48)), int(runs[-1] >> np.uint64(48))
        runs, other_runs = _between(runs, first, last), _between(other_runs, first, last)
        scored_reference, scored_prediction = _voxels(runs), _voxels(other_runs)
    overlap, nsd = 0, 0.0
    hd95_mm: float | None = None
    assd_mm: float | None = None
    if len(runs) and len(other_runs):
        overlap, nsd = _overlap_and_nsd(runs, other_runs, label, area_spacing_mm, distance_spacing_mm)
        if with_distances:
            distances = measure_distances(
                runs, other_runs, spacing_mm=area_spacing_mm, area_spacing_mm=area_spacing_mm
            )
            hd95_mm, assd_mm = distances.hd95_mm(), distances.assd_mm()
    elif with_distances and (len(runs) or len(other_runs)):
        hd95_mm = assd_mm = math.inf
    return LabelMeasures(
        reference_voxels=reference_voxels,
        prediction_voxels=prediction_voxels,
        scored_reference_voxels=scored_reference,
        scored_prediction_voxels=scored_prediction,
        overlap_voxels=overlap,
        nsd=nsd,
        hd95_mm=hd95_mm,
        assd_mm=assd_mm,
    )


def _overlap_and_nsd(
    runs: NDArray[np.uint64],
    other_runs: NDArray[np.uint64],
    label: Label,
    area_spacing_mm: Spacing,
    distance_spacing_mm: Spacing,
) -> tuple[int, float]:
    """Return the voxels in both and the surface Dice of a label that both volumes have."""
    wanted = balls(label.tolerance_mm, distance_spacing_mm) or ()
    results = [_compare(runs, other_runs, ball, _LARGEST_SCRATCH_WORDS) for ball in wanted]
    if results and results[0] is not None:
        counts, overlap = results[0]
        if all(other is not None and np.array_equal(counts, other[0]) for other in results[1:]):
            missed, hit = counts.reshape(2, 2, CODES).sum(axis=0) @ corner_areas(area_spacing_mm)
            return overlap, float(hit / (missed + hit))
        measure = measure_distances_as_scipy
    else:
        whole = _compare(runs, other_runs, NO_BALL, None)
        assert whole is not None
        overlap = whole[1]
        measure = measure_distances
    distances = measure(runs, other_runs, spacing_mm=distance_spacing_mm, area_spacing_mm=area_spacing_mm)
    return overlap, distances.surface_dice(label.tolerance_mm)


def _compare(
    runs: NDArray[np.uint64], other_runs: NDArray[np.uint64], ball: Ball, largest_scratch_words: int | None
) -> tuple[NDArray[np.int64], int] | None:
    """Return counts of surface elements by volume, miss or hit, and code; and the overlap in voxels.

    `None` if that needs more scratch than allowed.
    """
    while True:
        scratch = getattr(_thread, "scratch", _NO_SCRATCH)
        counts, overlap, needed = compare_label(
            runs, other_runs, ball.dz, ball.dy, ball.level, ball.half_widths, ball.reach, scratch
        )
        if needed <= len(scratch):
            return counts, int(overlap)
        if largest_scratch_words is not None and needed > largest_scratch_words:
            return None
        _thread.scratch = np.empty(needed + needed // 4, np.uint64)


def _between(runs: NDArray[np.uint64], first_slice: int, end_slice: int) -> NDArray[np.uint64]:
    """Return the runs of the slices from `first_slice` to the one before `end_slice`."""
    bounds = np.array([first_slice, end_slice], np.uint64) << np.uint64(48)
    first, end = np.searchsorted(runs, bounds)
    return runs[first:end]


def _voxels(runs: NDArray[np.uint64]) -> int:
    low = np.uint64(0xFFFF)
    return int((runs & low).sum() - ((runs >> np.uint64(16)) & low).sum()) + len(runs)


def count_voxels(volume: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many voxels carry each of the labels 0 to 255.

    Args:
        volume: Labels on axes x, y, z; fastest if x is the fastest axis in memory.
    """
    return find_runs(np.ascontiguousarray(volume.T), np.ones(LABELS, np.bool_), map, 1).voxels


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of this process, for a forked process inherits none."""
    return ThreadPoolExecutor(threads, thread_name_prefix="evaluator")
