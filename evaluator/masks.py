"""Masks of one label: a bit per voxel, 64 neighbours along x in a word, in a box around the label.

A box is (first z, first y, first word, slices, rows, words per row); bit i of word w stands for x = 64 w + i.
Row (z, y) begins at word ((z - first z) * rows + y - first y) * words. The box leaves an empty slice and an
empty row on each side of the label and an empty bit at the end of each row. So the four rows around a corner
are always inside, and a step left from a row's first word, which leads into the row before, finds no bit.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from evaluator.compilation import kernel

SURFELS, BORDERS_6, BORDERS_18 = 0, 6, 18
"""Kinds of surface: corners of the voxel grid, or voxels with a neighbour outside, of 6 or 18 neighbours."""


@kernel
def corner_extent(runs):
    """Return the first and last z, y and x of the voxel corners that the runs touch, six numbers.

    Voxel (z, y, x) has corners z to z + 1, y to y + 1 and x to x + 1.
    """
    largest = 1 << 16
    extent = np.array([largest, -1, largest, -1, largest, -1], np.int64)
    for i in range(runs.size):
        z, y, first, last = unpack(runs[i])
        extent[0] = min(extent[0], z)
        extent[1] = max(extent[1], z + 1)
        extent[2] = min(extent[2], y)
        extent[3] = max(extent[3], y + 1)
        extent[4] = min(extent[4], first)
        extent[5] = max(extent[5], last + 1)
    return extent


@kernel
def unpack(run):
    """Return z, y, first x and last x of a packed run."""
    low = np.uint64(0xFFFF)
    return (
        np.int64(run >> np.uint64(48)),
        np.int64((run >> np.uint64(32)) & low),
        np.int64((run >> np.uint64(16)) & low),
        np.int64(run & low),
    )


@kernel
def mask_box(extent):
    """Return the box of a mask, given the extent of its corners."""
    first_word = extent[4] >> 6
    return (
        extent[0] - 1,
        extent[2] - 1,
        first_word,
        extent[1] - extent[0] + 2,
        extent[3] - extent[2] + 2,
        (extent[5] >> 6) - first_word + 1,
    )


@kernel
def mask_words(box):
    """Return how many words a box has."""
    return box[3] * box[4] * box[5]


@kernel
def draw(runs, box, mask):
    """Paint the runs into the mask."""
    first_z, first_y, first_word, _, rows, words = box
    full = ~np.uint64(0)
    for i in range(mask.size):
        mask[i] = 0
    for i in range(runs.size):
        z, y, first, last = unpack(runs[i])
        row = ((z - first_z) * rows + y - first_y) * words - first_word
        head = full << np.uint64(first & 63)
        tail = full >> np.uint64(63 - (last & 63))
        word, end = first >> 6, last >> 6
        if word == end:
            mask[row + word] |= head & tail
        else:
            mask[row + word] |= head
            for middle in range(word + 1, end):
                mask[row + middle] = full
            mask[row + end] |= tail


@kernel
def find_corners(mask, box, surface):
    """Find the surface elements: corners whose eight voxels are neither all inside nor all outside.

    Bit (z, y, x) of `surface` is the corner between voxels (z, y, x) and (z - 1, y - 1, x - 1). One flat loop
    over all words, without branches, which the compiler turns into vector instructions.
    """
    rows, words = box[4], box[5]
    first = rows * words + words
    nothing = np.uint64(0)
    for i in range(first):
        surface[i] = 0
    surface[first] = _corner_word(
        mask[0], mask[words], mask[first - words], mask[first], nothing, nothing, nothing, nothing
    )
    d, left_d = mask[first + 1 :], mask[first:]
    c, left_c = mask[first + 1 - words :], mask[first - words :]
    b, left_b = mask[words + 1 :], mask[words:]
    a, left_a = mask[1:], mask
    out = surface[first + 1 :]
    for i in range(out.size):
        out[i] = _corner_word(a[i], b[i], c[i], d[i], left_a[i], left_b[i], left_c[i], left_d[i])


@kernel
def _corner_word(a, b, c, d, left_a, left_b, left_c, left_d):
    """Return the surface elements of one word of corners, from four mask words and those left of them."""
    one, top = np.uint64(1), np.uint64(63)
    some = a | b | c | d
    full = a & b & c & d
    some |= (some << one) | ((left_a | left_b | left_c | left_d) >> top)
    full &= (full << one) | ((left_a & left_b & left_c & left_d) >> top)
    return some & ~full


@kernel
def find_borders(mask, box, border, by_edges):
    """Find the voxels that have a neighbour outside; outside of the volume counts as outside.

    Args:
        mask: The mask.
        box: Its box.
        border: Where to: a bit per voxel.
        by_edges: Whether the 12 neighbours across an edge count besides the 6 across a face.
    """
    rows, words = box[4], box[5]
    whole = rows * words
    for i in range(mask.size):
        border[i] = 0
    for i in range(whole + words, mask.size - whole - words):
        if mask[i] == 0:
            continue
        inside = _along(mask, i)
        inside &= _with_sides(mask, i - words, by_edges) & _with_sides(mask, i + words, by_edges)
        inside &= _with_sides(mask, i - whole, by_edges) & _with_sides(mask, i + whole, by_edges)
        if by_edges:
            inside &= mask[i - whole - words] & mask[i - whole + words]
            inside &= mask[i + whole - words] & mask[i + whole + words]
        border[i] = mask[i] & ~inside


@kernel
def _along(mask, i):
    """Return for a word which voxels have both neighbours along x inside."""
    one, top = np.uint64(1), np.uint64(63)
    left = (mask[i] << one) | (mask[i - 1] >> top)
    right = (mask[i] >> one) | (mask[i + 1] << top)
    return left & right


@kernel
def _with_sides(mask, i, by_edges):
    return mask[i] & _along(mask, i) if by_edges else mask[i]


@kernel
def corner_code(mask, d, slice_words, row_words, x):
    """Return which of the eight voxels around a corner are inside; see areas.py for the order of the bits.

    Args:
        mask: The mask.
        d: Index of the word of voxel (z, y, x), the high one of the eight.
        slice_words: Words per slice.
        row_words: Words per row.
        x: Bit of the word, uint64.
    """
    one, three, top = np.uint64(1), np.uint64(3), np.uint64(63)
    code = np.uint64(0)
    for k, index in enumerate((d - slice_words - row_words, d - slice_words, d - row_words, d)):
        if x == 0:
            pair = (mask[index - 1] >> top) | ((mask[index] & one) << one)
        else:
            pair = (mask[index] >> (x - one)) & three
        code |= pair << np.uint64(2 * k)
    return np.int64(code)


@kernel
def surface_mask(runs, kind):
    """Return mask, surface and box of a label, given its runs and the kind of surface."""
    box = mask_box(corner_extent(runs))
    mask = np.empty(mask_words(box), np.uint64)
    surface = np.empty(mask.size, np.uint64)
    draw(runs, box, mask)
    if kind == SURFELS:
        find_corners(mask, box, surface)
    else:
        find_borders(mask, box, surface, kind == BORDERS_18)
    return mask, surface, box
