"""What most raters say: the consensus of several annotations of one case.

A voxel belongs to a label or region where more than half of the raters put it there; of two raters, where
both do. This majority needs no parameter and no iteration, is the same in every crop of a volume, and gives
the same bits everywhere. STAPLE (Warfield et al., IEEE TMI 2004), the usual other choice, weighs raters by an
estimate that depends on how much background the field of view holds, and on where its iteration stops.

Each region has a consensus of its own: raters who call the same voxels oedema or core agree on the whole
tumour. It is made from runs, as everything is:

    rater 1     1 1 1 1 1 . . .      begins and ends of all raters' runs, in order along a row; a run of the
    rater 2     . 1 1 1 1 1 1 .      consensus begins where a second one of three begins, and ends where that
    rater 3     . . . 1 1 1 1 1      many no longer go on
    consensus   . 1 1 1 1 1 1 .
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.compilation import kernel
from evaluator.runs import LabelRuns

_X_BITS = 17
"""One more than a place takes, for a run's end may be just beyond the last one."""


@dataclass(frozen=True, eq=False)
class Consensus:
    """The runs of the majority of raters, in the place of one volume's.

    Attributes:
        raters: Each rater's runs, on one grid.
    """

    raters: tuple[LabelRuns, ...]

    def of_all(self, labels: Sequence[int]) -> NDArray[np.uint64]:
        """Return the runs of a label, or of a region that several make up, sorted by z, y, x."""
        return majority([rater.of_all(labels) for rater in self.raters])


def majority(raters: Sequence[NDArray[np.uint64]]) -> NDArray[np.uint64]:
    """Return the sorted runs of the voxels that more than half of the raters' runs hold.

    Args:
        raters: Each rater's runs of one label or region, packed as in runs.py and sorted.
    """
    if len(raters) == 1:
        return raters[0]
    runs = np.concatenate(raters)
    row, low = (runs >> np.uint64(32)) << np.uint64(_X_BITS), np.uint64(0xFFFF)
    begins, ends = row | (runs >> np.uint64(16) & low), (row | (runs & low)) + np.uint64(1)
    return np.asarray(_held(np.sort(begins), np.sort(ends), len(raters) // 2 + 1))


def label_map(raters: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """Return the consensus of single labels as one volume, for a picture of it.

    No voxel has two labels that more than half of the raters gave it; one that has none is background, also
    where most raters agree on a region of several labels.

    Args:
        raters: Each rater's labels, on one grid.
    """
    consensus = np.zeros_like(raters[0])
    for value in np.unique(np.concatenate([np.unique(one) for one in raters])).tolist():
        votes = np.sum([one == value for one in raters], axis=0, dtype=np.uint8)
        consensus[2 * votes.astype(np.int16) > len(raters)] = value
    return consensus


@kernel
def _held(begins, ends, least):
    """Return the runs of the places that lie in at least so many stretches.

    Args:
        begins: Sorted, row and x.
        ends: Sorted, row and the x after the last.
        least: How many.
    """
    bits, low = np.uint64(_X_BITS), np.uint64((1 << _X_BITS) - 1)
    held = np.empty(begins.size, np.uint64)
    count = depth = i = j = 0
    while j < ends.size:
        place = min(begins[i], ends[j]) if i < begins.size else ends[j]
        before = depth
        while i < begins.size and begins[i] == place:
            depth += 1
            i += 1
        while ends[j] == place:
            depth -= 1
            j += 1
            if j == ends.size:
                break
        if before < least <= depth:
            held[count] = (place >> bits) << np.uint64(32) | (place & low) << np.uint64(16)
        elif depth < least <= before:
            held[count] |= (place & low) - np.uint64(1)
            count += 1
    return held[:count]
