"""The surface areas of a label within its tolerance, by the fastest way that gives the exact number."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from evaluator.areas import CODES, corner_areas
from evaluator.distances import (
    GridSpacing,
    SurfaceAreas,
    SurfaceDistances,
    measure_distances,
    measure_distances_as_scipy,
)
from evaluator.surface import Ball, balls, compare_label

# If one label needs more than this, half a GiB, its ball is not walked; only balls of very many voxels do.
_LARGEST_SCRATCH_WORDS = 64 << 20
_NO_SCRATCH = np.empty(0, np.uint64)
_thread = threading.local()


def measure_areas(
    reference_runs: NDArray[np.uint64],
    prediction_runs: NDArray[np.uint64],
    tolerance_mm: float,
    spacing: GridSpacing,
    known: SurfaceDistances | None = None,
) -> SurfaceAreas:
    """Return how much surface of a label lies within the tolerance of the other volume's.

    Args:
        reference_runs: The label's runs in the reference, packed; at least one.
        prediction_runs: The same of the prediction.
        tolerance_mm: How far apart surfaces may lie.
        spacing: Voxel sizes.
        known: All distances, if they were measured for something else anyway.
    """
    wanted = balls(tolerance_mm, spacing.distances_mm) or ()
    if known is not None and len(wanted) < 2:
        return known.areas(tolerance_mm)
    results = [_count_elements(reference_runs, prediction_runs, ball) for ball in wanted]
    measure: Callable[..., SurfaceDistances] = measure_distances
    if results and results[0] is not None:
        counts = results[0]
        if all(other is not None and np.array_equal(counts, other) for other in results[1:]):
            areas = counts.reshape(2, 2, CODES) @ corner_areas(spacing.areas_mm)
            (one_missed, one_hit), (other_missed, other_hit) = areas.tolist()
            return SurfaceAreas((one_hit, other_hit), (one_missed + one_hit, other_missed + other_hit))
        measure = measure_distances_as_scipy
    return measure(reference_runs, prediction_runs, spacing).areas(tolerance_mm)


def _count_elements(
    reference_runs: NDArray[np.uint64], prediction_runs: NDArray[np.uint64], ball: Ball
) -> NDArray[np.int64] | None:
    """Return counts of surface elements by volume, miss or hit, and code; `None` if that needs too much."""
    while True:
        scratch = getattr(_thread, "scratch", _NO_SCRATCH)
        counts, needed = compare_label(
            reference_runs,
            prediction_runs,
            ball.dz,
            ball.dy,
            ball.level,
            ball.half_widths,
            ball.reach,
            scratch,
        )
        if needed <= len(scratch):
            return np.asarray(counts)
        if needed > _LARGEST_SCRATCH_WORDS:
            return None
        _thread.scratch = np.empty(needed + needed // 4, np.uint64)
