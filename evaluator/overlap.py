"""The voxels that both volumes share, from the runs of a label in each.

Runs are sorted by z, y and x, so one walk through both lists, always on with the run that ends first, meets
every pair that overlaps:

    reference     1 1 1 1 . . 1 1 1 . .
    prediction    . . 1 1 1 1 1 . . 1 1        shared: 2 + 1
"""

# mypy: disable-error-code="no-untyped-def, operator"

from __future__ import annotations

import numpy as np

from evaluator.compilation import kernel


@kernel
def count_shared(reference_runs, prediction_runs):
    """Count the voxels in the runs of both; packed as in runs.py, sorted."""
    low, half, whole = np.uint64(0xFFFF), np.uint64(16), np.uint64(32)
    shared = 0
    i = j = 0
    while i < reference_runs.size and j < prediction_runs.size:
        reference, prediction = reference_runs[i], prediction_runs[j]
        if reference >> whole != prediction >> whole:
            if reference < prediction:
                i += 1
            else:
                j += 1
            continue
        reference_last, prediction_last = np.int64(reference & low), np.int64(prediction & low)
        first = max(np.int64((reference >> half) & low), np.int64((prediction >> half) & low))
        shared += max(0, min(reference_last, prediction_last) - first + 1)
        if reference_last <= prediction_last:
            i += 1
        else:
            j += 1
    return shared
