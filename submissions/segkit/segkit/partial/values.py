"""The label values, and how often they occur."""

from __future__ import annotations

import numpy as np

from segkit.plan import ABDOMINAL_ORGANS

TUMOUR = len(ABDOMINAL_ORGANS) + 1
ORGANS = frozenset(range(1, TUMOUR))
EVERYTHING = ORGANS | {TUMOUR}
LABEL_NAMES = dict(enumerate((*ABDOMINAL_ORGANS, "tumour"), start=1))


def voxels_by_value(labels: np.ndarray) -> dict[int, int]:
    """How many voxels hold each value, in ascending order and without 0.

    Args:
        labels: uint8, any shape.
    """
    total = np.zeros(256, dtype=np.int64)
    # Slice by slice, since bincount makes an int64 copy of what it counts.
    for plane in labels if labels.ndim > 2 else labels[np.newaxis]:
        total += np.bincount(plane.ravel(), minlength=256)
    return {int(value): int(total[value]) for value in np.flatnonzero(total) if value}
