"""Connected components of a label, from its runs: no volume is looked at.

Runs are sorted by z, y and x, so the runs that a run can touch lie in four rows before it: beside it in y,
and below it, straight or beside. Components are numbered by their first voxel, x fastest, from 0.

                 . A A .            z - 1, rows y - 1, y, y + 1, and z, row y - 1
                 A B . .            run B meets A if their stretches along x overlap, or,
                                    where the neighbourhood has a step along x left, touch by a corner
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluator.bits import count_bits, lowest_bit
from evaluator.compilation import kernel
from evaluator.masks import BORDERS_6, corner_extent, surface_mask, unpack
from evaluator.tally import content, grown, new_tally, slot_of


@kernel
def find_components(runs, steps):
    """Return the component of each run, and how many there are.

    Args:
        runs: Packed, sorted.
        steps: How many of the three axes a neighbour may differ in: 1 for 6 neighbours, 2 for 18, 3 for 26.
    """
    parent = np.arange(runs.size)
    places = np.zeros(4, np.int64)
    for i in range(runs.size):
        z, y, first, last = unpack(runs[i])
        for k in range(4):
            dz, dy = (0, -1) if k == 0 else (-1, k - 2)
            across = -dz - min(dy, -dy)
            if across > steps:
                continue
            slack = 1 if across < steps else 0
            row = (z + dz) * 65536 + y + dy
            j = places[k]
            while j < i and (
                _row(runs[j]) < row or (_row(runs[j]) == row and _last(runs[j]) < first - slack)
            ):
                j += 1
            places[k] = j
            while j < i and _row(runs[j]) == row and _first(runs[j]) <= last + slack:
                _join(parent, i, j)
                j += 1
    numbers = np.empty(runs.size, np.int64)
    count = 0
    for i in range(runs.size):
        root = _root(parent, i)
        if root == i:
            numbers[i] = count
            count += 1
        else:
            numbers[i] = numbers[root]
    return numbers, count


@kernel
def _row(run):
    return np.int64(run >> np.uint64(32) & np.uint64(0xFFFF)) + 65536 * np.int64(run >> np.uint64(48))


@kernel
def _first(run):
    return np.int64(run >> np.uint64(16) & np.uint64(0xFFFF))


@kernel
def _last(run):
    return np.int64(run & np.uint64(0xFFFF))


@kernel
def _root(parent, i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@kernel
def _join(parent, i, j):
    """Make two trees one; the earlier run is the root, so that it stands for the component."""
    one, other = _root(parent, i), _root(parent, j)
    if one < other:
        parent[other] = one
    else:
        parent[one] = other


@kernel
def voxels_by_component(runs, numbers, count):
    """Return how many voxels each component has."""
    voxels = np.zeros(count, np.int64)
    for i in range(runs.size):
        voxels[numbers[i]] += _last(runs[i]) - _first(runs[i]) + 1
    return voxels


@kernel
def shared_by_pair(runs, numbers, other_runs, other_numbers):
    """Return the pairs of components that share voxels: their two numbers, and how many voxels."""
    keys, counts = new_tally()
    used = 0
    i = j = 0
    while i < runs.size and j < other_runs.size:
        if _row(runs[i]) != _row(other_runs[j]):
            if runs[i] < other_runs[j]:
                i += 1
            else:
                j += 1
            continue
        shared = min(_last(runs[i]), _last(other_runs[j])) - max(_first(runs[i]), _first(other_runs[j])) + 1
        if shared > 0:
            key = np.uint64(numbers[i]) << np.uint64(32) | np.uint64(other_numbers[j])
            slot = slot_of(keys, key)
            if keys[slot] == 0:
                keys[slot] = key + np.uint64(1)
                used += 1
            counts[slot] += shared
            if 2 * used > keys.size:
                keys, counts = grown(keys, counts)
        if _last(runs[i]) <= _last(other_runs[j]):
            i += 1
        else:
            j += 1
    return content(keys, counts)


@kernel
def touching_pairs(runs, numbers, other_runs, other_numbers, reach):
    """Return the pairs of components where the second one touches the first one, dilated: keys as above.

    The dilation is `reach` times by the 18-neighbourhood: all offsets of at most `reach` along each axis and
    of at most twice that along all three together.
    """
    keys, counts = new_tally()
    used = 0
    for i in range(runs.size):
        z, y, first, last = unpack(runs[i])
        for dz in range(-reach, reach + 1):
            for dy in range(-reach, reach + 1):
                wide = min(reach, 2 * reach - abs(dz) - abs(dy))
                row = (z + dz) * 65536 + y + dy
                if wide < 0 or y + dy < 0 or z + dz < 0:
                    continue
                j = _search_run(other_runs, row, first - wide)
                while (
                    j < other_runs.size
                    and _row(other_runs[j]) == row
                    and _first(other_runs[j]) <= last + wide
                ):
                    key = np.uint64(numbers[i]) << np.uint64(32) | np.uint64(other_numbers[j])
                    slot = slot_of(keys, key)
                    if keys[slot] == 0:
                        keys[slot] = key + np.uint64(1)
                        used += 1
                    counts[slot] += 1
                    if 2 * used > keys.size:
                        keys, counts = grown(keys, counts)
                    j += 1
    return content(keys, counts)


@kernel
def _search_run(runs, row, x):
    """Return the index of the first run that ends at a place or after it."""
    low, high = 0, runs.size
    while low < high:
        middle = (low + high) // 2
        if _row(runs[middle]) < row or (_row(runs[middle]) == row and _last(runs[middle]) < x):
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def dilate(runs, reach, shape):
    """Return the runs of a label that was dilated `reach` times by the 18-neighbourhood, inside the volume.

    Args:
        runs: Packed, sorted; at least one.
        reach: How many times.
        shape: Voxels along x, y, z.
    """
    extent = corner_extent(runs)
    first_z, end_z = max(0, extent[0] - reach), min(shape[2], extent[1] + reach)
    first_y, end_y = max(0, extent[2] - reach), min(shape[1], extent[3] + reach)
    first_x, end_x = max(0, extent[4] - reach), min(shape[0], extent[5] + reach)
    width = end_x - first_x
    rows = end_y - first_y
    box = np.zeros((end_z - first_z) * rows * width, np.bool_)
    for i in range(runs.size):
        z, y, first, last = unpack(runs[i])
        for dz in range(-reach, reach + 1):
            for dy in range(-reach, reach + 1):
                wide = min(reach, 2 * reach - abs(dz) - abs(dy))
                if wide < 0 or not (first_z <= z + dz < end_z and first_y <= y + dy < end_y):
                    continue
                start = ((z + dz - first_z) * rows + y + dy - first_y) * width - first_x
                box[start + max(first_x, first - wide) : start + min(end_x, last + wide + 1)] = True
    return _runs_of_box(box, first_z, first_y, first_x, rows, width)


@kernel
def _runs_of_box(box, first_z, first_y, first_x, rows, width):
    count = 0
    for i in range(box.size):
        count += box[i] and (i % width == 0 or not box[i - 1])
    runs = np.empty(count, np.uint64)
    index = 0
    for row in range(box.size // width):
        place = np.uint64(first_z + row // rows) << np.uint64(48) | np.uint64(
            first_y + row % rows
        ) << np.uint64(32)
        x = 0
        while x < width:
            if not box[row * width + x]:
                x += 1
                continue
            begin = x
            while x < width and box[row * width + x]:
                x += 1
            runs[index] = place | np.uint64(first_x + begin) << np.uint64(16) | np.uint64(first_x + x - 1)
            index += 1
    return runs


@kernel
def numbers_of_covered(runs, covering_runs, covering_numbers):
    """Return the component of each run, given runs that cover it and their components, numbered anew."""
    numbers = np.empty(runs.size, np.int64)
    renumbered = np.full(covering_runs.size + 1, -1, np.int64)
    count = 0
    for i in range(runs.size):
        j = _search_run(covering_runs, _row(runs[i]), _first(runs[i]))
        number = covering_numbers[j]
        if renumbered[number] < 0:
            renumbered[number] = count
            count += 1
        numbers[i] = renumbered[number]
    return numbers, count


@kernel
def paint(runs, low, shape):
    """Return a volume of a box with the runs in it, on axes z, y, x.

    Args:
        runs: Packed.
        low: First z, y, x of the box.
        shape: Its voxels along z, y, x.
    """
    volume = np.zeros(shape, np.bool_)
    for i in range(runs.size):
        z, y, first, last = unpack(runs[i])
        volume[z - low[0], y - low[1], first - low[2] : last - low[2] + 1] = True
    return volume


@kernel
def runs_of_bits(bits, box):
    """Return the runs of set bits of a mask (masks.py), one voxel each; in order."""
    first_z, first_y, first_word, _, rows, words = box
    count = 0
    for i in range(bits.size):
        count += count_bits(bits[i])
    runs = np.empty(count, np.uint64)
    index = 0
    for i in range(bits.size):
        word = bits[i]
        place = np.uint64(first_z + i // words // rows) << np.uint64(48)
        place |= np.uint64(first_y + i // words % rows) << np.uint64(32)
        while word:
            x = np.uint64(64 * (first_word + i % words) + lowest_bit(word))
            word &= word - np.uint64(1)
            runs[index] = place | x << np.uint64(16) | x
            index += 1
    return runs


@kernel
def merge_runs(runs):
    """Return sorted runs with those that follow each other without a gap in one row made one."""
    merged = runs.copy()
    count = 0
    for i in range(runs.size):
        if (
            count
            and _row(runs[i]) == _row(merged[count - 1])
            and _first(runs[i]) <= _last(merged[count - 1]) + 1
        ):
            merged[count - 1] = (merged[count - 1] & ~np.uint64(0xFFFF)) | np.uint64(
                max(_last(runs[i]), _last(merged[count - 1]))
            )
        else:
            merged[count] = runs[i]
            count += 1
    return merged[:count]


def border_runs(runs: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the voxels of a label with one of 6 neighbours outside, as sorted runs of one voxel each."""
    _, border, box = surface_mask(runs, BORDERS_6)
    return np.asarray(runs_of_bits(border, box))
