"""nnU-Net's post-processing: of some labels together only the largest connected part stays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def keep_largest(labels: np.ndarray, rules: Sequence[Sequence[int]]) -> None:
    """Apply rules in turn, in place. Parts touch by faces, edges or corners; of equally large ones all stay.

    Args:
        labels: uint8 (z, y, x).
        rules: For each rule, label values that count together.
    """
    for values in rules:
        mask = np.isin(labels, list(values))
        found = ndimage.find_objects(mask.astype(np.uint8))
        if not found:
            continue
        box = found[0]
        parts, _ = ndimage.label(mask[box], structure=np.ones((3, 3, 3)))
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        labels[box][(parts > 0) & (sizes[parts] < sizes.max())] = 0
