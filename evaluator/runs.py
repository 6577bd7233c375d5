"""From voxels to runs: the one pass over whole volumes, 64 voxels at a time.

A run is a stretch of one label along x. Everything that is scored follows from the runs of a volume, and
there are few of them: a 512 x 512 x 300 label volume of 79 million voxels has some 200,000.

    row      0 0 0 5 5 5 5 0 0 1 1 1 1 1 5 5 0 0      a voxel that differs from its left neighbour
    changes        ^       ^   ^         ^   ^        begins a run, ends one, or both
    runs           5:3-6       1:9-13    5:14-15

The pass asks 64 voxels at once where they differ from their left neighbours. In most blocks, all background
or deep inside an organ, none does, and the pass moves on at the speed of memory.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.bits import WORD_BITS, changes, lowest_bit
from evaluator.compilation import kernel
from evaluator.components import merge_runs

LARGEST_AXIS = 65535
"""Positions are packed into 16 bits each."""

LABELS = 256


@dataclass(frozen=True)
class LabelRuns:
    """The runs of the wanted labels of one volume, sorted by label, then z, y, x.

    Attributes:
        packed: One word per run: z, y, first x, last x in 16 bits each, z the highest.
        starts: 257 offsets; the runs of label v are `packed[starts[v] : starts[v + 1]]`.
        voxels: 256 counts, how many voxels carry each label; 0 for labels not wanted.
    """

    packed: NDArray[np.uint64]
    starts: NDArray[np.int64]
    voxels: NDArray[np.int64]

    def of(self, label: int) -> NDArray[np.uint64]:
        """Return the runs of one label, sorted by z, y, x."""
        return self.packed[self.starts[label] : self.starts[label + 1]]

    def of_all(self, labels: Sequence[int]) -> NDArray[np.uint64]:
        """Return the runs of a region that several labels make up, sorted by z, y, x."""
        if len(labels) == 1:
            return self.of(labels[0])
        # Labels that have runs, for a region may be "anything but background".
        parts = [self.of(label) for label in labels if self.starts[label] < self.starts[label + 1]]
        return merge_runs(np.sort(np.concatenate(parts))) if parts else self.of(labels[0])


def find_runs(
    volume: NDArray[np.uint8],
    wanted: NDArray[np.bool_],
    spread: Callable[[Callable[[int], Any], Iterable[int]], Iterator[Any]],
    pieces: int,
) -> LabelRuns:
    """Return the runs of the wanted labels.

    Args:
        volume: Labels on axes z, y, x, C-contiguous.
        wanted: 256 flags, which labels matter.
        spread: Works on the pieces: `map`, or that of a thread pool.
        pieces: Into how many slabs of slices the volume is cut.
    """
    depth, height, width = volume.shape
    flat = volume.reshape(-1)
    cuts = np.linspace(0, depth, pieces + 1).astype(np.int64)
    found = list(spread(lambda k: scan(flat, height, width, cuts[k], cuts[k + 1], wanted), range(pieces)))
    counts = np.array([count for _, _, count, _ in found])
    starts = np.zeros(LABELS + 1, np.int64)
    np.cumsum(counts.sum(axis=0), out=starts[1:])
    packed = np.empty(starts[-1], np.uint64)
    # Where each piece puts its runs of each label: after those of the pieces before it.
    offsets = starts[:-1] + np.cumsum(counts, axis=0) - counts
    list(spread(lambda k: deal(found[k][0], found[k][1], offsets[k], packed), range(pieces)))
    return LabelRuns(packed, starts, np.sum([voxels for _, _, _, voxels in found], axis=0))


@kernel
def scan(flat, height, width, z_first, z_end, wanted):
    """Find the runs of slices `z_first` to `z_end`, in the order of memory.

    Returns:
        Packed runs, their labels, and by label the number of runs and of voxels.
    """
    capacity = 4096
    packed = np.empty(capacity, np.uint64)
    labels = np.empty(capacity, np.uint8)
    count = 0
    run_counts = np.zeros(LABELS, np.int64)
    voxel_counts = np.zeros(LABELS, np.int64)
    nothing = np.uint8(0)
    for z in range(z_first, z_end):
        for y in range(height):
            if count + width > capacity:
                capacity = 2 * capacity + width
                packed = _grown(packed, count, capacity)
                labels = _grown(labels, count, capacity)
            row = (z * height + y) * width
            place = (np.uint64(z) << np.uint64(48)) | (np.uint64(y) << np.uint64(32))
            label = nothing
            begin = 0
            block = 0
            while block < width:
                if block + WORD_BITS <= width:
                    changed = changes(flat, row + block, label)
                else:
                    changed = np.uint64(0)
                    before = label
                    for x in range(block, width):
                        changed |= np.uint64(flat[row + x] != before) << np.uint64(x - block)
                        before = flat[row + x]
                while changed:
                    x = block + lowest_bit(changed)
                    changed &= changed - np.uint64(1)
                    if wanted[label]:
                        packed[count] = place | (np.uint64(begin) << np.uint64(16)) | np.uint64(x - 1)
                        labels[count] = label
                        count += 1
                        run_counts[label] += 1
                        voxel_counts[label] += x - begin
                    label = flat[row + x]
                    begin = x
                block += WORD_BITS
            if wanted[label]:
                packed[count] = place | (np.uint64(begin) << np.uint64(16)) | np.uint64(width - 1)
                labels[count] = label
                count += 1
                run_counts[label] += 1
                voxel_counts[label] += width - begin
    return packed[:count], labels[:count], run_counts, voxel_counts


@kernel
def _grown(array, used, capacity):
    larger = np.empty(capacity, array.dtype)
    for i in range(used):
        larger[i] = array[i]
    return larger


@kernel
def deal(packed, labels, offsets, sorted_runs):
    """Put the runs of one piece in their places among all runs, sorted by label."""
    for i in range(packed.size):
        label = labels[i]
        sorted_runs[offsets[label]] = packed[i]
        offsets[label] += 1
