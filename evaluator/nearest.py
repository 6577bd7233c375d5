"""The nearest element of another surface, for every element of one, however far away it is.

Both surfaces are bit masks (masks.py). Where predictions are good, the partner is a voxel or two away, so each
element first looks at the rows of the other surface around it, nearest row first, and in each row for the
nearest set bit to its left and right, until no row that is left can be nearer than what it has found:

                   8 4 7
                   3 1 2       order of the rows around an element, looking along x
                   9 5 6

An element that finds nothing sure in the nearest rows goes on by cells, blocks of 4 x 4 rows and 64 voxels
along x: of every cell that holds anything and whose corner nearest to the element is nearer than the best yet,
the rows are looked at. The best to begin with is the distance of the partner of the element before, which
is a neighbour and so tells almost the truth. Cells of cells (8 x 8 x 4 of them) are passed over in one step.

What comes out is not a list of distances but a count per offset in voxels along z, y and x, and corner code:
distances, means, percentiles and shares all follow from that, for any spacing, and there are few of them.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evaluator.bits import highest_bit, lowest_bit
from evaluator.compilation import kernel
from evaluator.masks import corner_code, corner_extent, draw, find_borders, find_corners, mask_box, mask_words
from evaluator.tally import content, grown, new_tally, slot_of

_NEAR_ROWS = 96
_FARTHEST_ROW = 12
_CELL = 4
"""Rows of a cell along z and y; along x it is a word."""
_CELLS_YZ, _CELLS_X = 8, 4
"""Cells of a cell of cells."""
_FAR = 1 << 30

SURFELS, BORDERS_6, BORDERS_18 = 0, 6, 18
"""Kinds of surface: corners of the voxel grid, or voxels with a neighbour outside, of 6 or 18 neighbours."""


@lru_cache(maxsize=256)
def near_rows(size_y: float, size_z: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets in z and y of the nearest rows, nearest first, for voxel sizes in mm."""
    steps = np.arange(-_FARTHEST_ROW, _FARTHEST_ROW + 1)
    dz, dy = (axis.ravel() for axis in np.meshgrid(steps, steps, indexing="ij"))
    squares = (dy * size_y) ** 2 + (dz * size_z) ** 2
    # Rows beyond the square of offsets are not in it: only the disc inside it is complete.
    inside = squares <= (_FARTHEST_ROW * min(size_y, size_z)) ** 2
    order = np.argsort(squares[inside], kind="stable")[: _NEAR_ROWS + 1]
    return dz[inside][order], dy[inside][order]


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


@kernel
def count_offsets(one, other, near_z, near_y, sizes, counts_codes):
    """Count the elements of a surface by the offset to the nearest element of another.

    Args:
        one: Mask, surface and box of the elements that are counted.
        other: The same of those that are looked for; at least one.
        near_z: Row offsets of `near_rows`.
        near_y: The same in y.
        sizes: Voxel size along x, y, z.
        counts_codes: Whether elements are told apart by their corner code.

    Returns:
        Keys, ascending: |dz|, |dy|, |dx| in 16 bits each and the code in 8; and how many elements have each.
    """
    mask, surface, box = one
    _, others, others_box = other
    first_z, first_y, first_word, slices, rows, words = box
    size_x, size_y, size_z = sizes[0], sizes[1], sizes[2]
    keys, counts = new_tally()
    used = 0
    cells, cell_shape = _find_cells(others, others_box)
    clusters = _find_clusters(cells, cell_shape)
    found = np.zeros(4, np.int64)
    partner = np.full(3, _FAR, np.int64)
    for i in range(surface.size):
        elements = surface[i]
        if elements == 0:
            continue
        z = first_z + i // words // rows
        y = first_y + i // words % rows
        while elements:
            bit = lowest_bit(elements)
            elements &= elements - np.uint64(1)
            x = 64 * (first_word + i % words) + bit
            if not _search_rows(others, others_box, z, y, x, near_z, near_y, sizes, found):
                if partner[0] != _FAR:
                    _compare(partner[0] - z, partner[1] - y, partner[2] - x, sizes, found)
                _search_cells(others, others_box, cells, cell_shape, clusters, z, y, x, sizes, found)
                partner[0], partner[1], partner[2] = z + found[0], y + found[1], x + found[2]
            key = np.uint64(abs(found[0])) << np.uint64(40) | np.uint64(abs(found[1])) << np.uint64(24)
            key |= np.uint64(abs(found[2])) << np.uint64(8)
            if counts_codes:
                key |= np.uint64(corner_code(mask, i, rows * words, words, np.uint64(bit)))
            slot = slot_of(keys, key)
            if keys[slot] == 0:
                keys[slot] = key + np.uint64(1)
                used += 1
            counts[slot] += 1
            if 2 * used > keys.size:
                keys, counts = grown(keys, counts)
    return content(keys, counts)


@kernel
def _square(dz, dy, dx, sizes):
    """Return the squared length of an offset, in the order of operations of SciPy's distance transform."""
    x, y, z = dx * sizes[0], dy * sizes[1], dz * sizes[2]
    return ((x * x) + (y * y)) + (z * z)


@kernel
def _compare(dz, dy, dx, sizes, found):
    """Keep an offset if it is shorter than the one found before."""
    if found[3] == 0 or _square(dz, dy, dx, sizes) < _square(found[0], found[1], found[2], sizes):
        found[0], found[1], found[2], found[3] = dz, dy, dx, 1


@kernel
def _search_rows(others, box, z, y, x, near_z, near_y, sizes, found):
    """Look for the nearest element in the near rows; returns whether the one found is sure to be nearest."""
    first_z, first_y, first_word, slices, rows, words = box
    place = x - 64 * first_word
    best, limit = np.inf, np.int64(_FAR)
    found[3] = 0
    for k in range(near_z.size):
        dz, dy = near_z[k], near_y[k]
        size = _square(dz, dy, 0, sizes)
        if size >= best:
            return True
        row_z, row_y = z + dz - first_z, y + dy - first_y
        if row_z < 0 or row_z >= slices or row_y < 0 or row_y >= rows:
            continue
        step = _nearest_in_row(others, (row_z * rows + row_y) * words, words, place, limit)
        if abs(step) != _FAR:
            square = _square(dz, dy, step, sizes)
            if square < best:
                best = square
                limit = np.int64(np.sqrt(best) / sizes[0]) + 1
                found[0], found[1], found[2], found[3] = dz, dy, step, 1
    return False


@kernel
def _nearest_in_row(others, row, words, place, limit):
    """Return the step along x to the nearest set bit in a row; `_FAR` if none is within about `limit` steps."""
    word, bit = place >> 6, np.uint64(place & 63)
    full = ~np.uint64(0)
    right = left = _FAR
    if 0 <= word < words:
        bits = others[row + word]
        after, before = bits & (full << bit), bits & (full >> (np.uint64(63) - bit))
        if after:
            right = lowest_bit(after) - (place & 63)
        if before:
            left = (place & 63) - highest_bit(before)
    limit = min(limit, left)
    next_word = max(word + 1, 0)
    while right == _FAR and next_word < words and 64 * next_word - place <= limit:
        if others[row + next_word]:
            right = 64 * next_word + lowest_bit(others[row + next_word]) - place
        next_word += 1
    limit = min(limit, right)
    next_word = min(word - 1, words - 1)
    while left == _FAR and next_word >= 0 and place - 64 * next_word - 63 <= limit:
        if others[row + next_word]:
            left = place - 64 * next_word - highest_bit(others[row + next_word])
        next_word -= 1
    return right if right <= left else -left


@kernel
def _find_cells(others, box):
    """Return for each cell of the other surface whether it holds anything, and the numbers of cells."""
    _, _, _, slices, rows, words = box
    shape = ((slices + _CELL - 1) // _CELL, (rows + _CELL - 1) // _CELL, words)
    cells = np.zeros(shape, np.bool_)
    for z in range(slices):
        for y in range(rows):
            row = (z * rows + y) * words
            for word in range(words):
                if others[row + word]:
                    cells[z // _CELL, y // _CELL, word] = True
    return cells, shape


@kernel
def _find_clusters(cells, shape):
    """Return the same for cells of cells."""
    clusters = np.zeros(
        (
            (shape[0] + _CELLS_YZ - 1) // _CELLS_YZ,
            (shape[1] + _CELLS_YZ - 1) // _CELLS_YZ,
            (shape[2] + _CELLS_X - 1) // _CELLS_X,
        ),
        np.bool_,
    )
    for z in range(shape[0]):
        for y in range(shape[1]):
            for word in range(shape[2]):
                if cells[z, y, word]:
                    clusters[z // _CELLS_YZ, y // _CELLS_YZ, word // _CELLS_X] = True
    return clusters


@kernel
def _gap(place, first, length):
    """Return how many steps a place is from the nearest of `length` places that begin at `first`."""
    return max(first - place, place - first - length + 1, 0)


@kernel
def _search_cells(others, box, cells, shape, clusters, z, y, x, sizes, found):
    """Look for the nearest element in all cells that may hold a nearer one than `found`."""
    place_z, place_y, place_x = z - box[0], y - box[1], x - 64 * box[2]
    rows_of_cluster, words_of_cluster = _CELL * _CELLS_YZ, 64 * _CELLS_X
    best = _square(found[0], found[1], found[2], sizes) if found[3] else np.inf
    for cluster_z in range(clusters.shape[0]):
        gap_z = _gap(place_z, cluster_z * rows_of_cluster, rows_of_cluster)
        if _square(gap_z, 0, 0, sizes) >= best:
            continue
        for cluster_y in range(clusters.shape[1]):
            gap_y = _gap(place_y, cluster_y * rows_of_cluster, rows_of_cluster)
            if _square(gap_z, gap_y, 0, sizes) >= best:
                continue
            for cluster_x in range(clusters.shape[2]):
                gap_x = _gap(place_x, cluster_x * words_of_cluster, words_of_cluster)
                if clusters[cluster_z, cluster_y, cluster_x] and (
                    _square(gap_z, gap_y, gap_x, sizes) < best
                ):
                    where = (cluster_z * _CELLS_YZ, cluster_y * _CELLS_YZ, cluster_x * _CELLS_X)
                    best = _search_cluster(
                        others, box, cells, shape, where, (place_z, place_y, place_x), sizes, found, best
                    )


@kernel
def _search_cluster(others, box, cells, shape, where, place, sizes, found, best):
    for cell_z in range(where[0], min(where[0] + _CELLS_YZ, shape[0])):
        gap_z = _gap(place[0], cell_z * _CELL, _CELL)
        if _square(gap_z, 0, 0, sizes) >= best:
            continue
        for cell_y in range(where[1], min(where[1] + _CELLS_YZ, shape[1])):
            gap_y = _gap(place[1], cell_y * _CELL, _CELL)
            if _square(gap_z, gap_y, 0, sizes) >= best:
                continue
            for word in range(where[2], min(where[2] + _CELLS_X, shape[2])):
                gap_x = _gap(place[2], 64 * word, 64)
                if cells[cell_z, cell_y, word] and _square(gap_z, gap_y, gap_x, sizes) < best:
                    best = _search_cell(others, box, (cell_z, cell_y, word), place, sizes, found, best)
    return best


@kernel
def _search_cell(others, box, cell, place, sizes, found, best):
    """Look at the rows of one cell; returns the square of the best distance."""
    _, _, _, slices, rows, words = box
    gap_x = _gap(place[2], 64 * cell[2], 64)
    bit = np.uint64(min(max(place[2] - 64 * cell[2], 0), 63))
    full = ~np.uint64(0)
    for row_z in range(_CELL * cell[0], min(_CELL * cell[0] + _CELL, slices)):
        for row_y in range(_CELL * cell[1], min(_CELL * cell[1] + _CELL, rows)):
            bits = others[(row_z * rows + row_y) * words + cell[2]]
            dz, dy = row_z - place[0], row_y - place[1]
            if bits == 0 or _square(dz, dy, gap_x, sizes) >= best:
                continue
            after, before = bits & (full << bit), bits & (full >> (np.uint64(63) - bit))
            right = 64 * cell[2] + lowest_bit(after) - place[2] if after else _FAR
            left = place[2] - 64 * cell[2] - highest_bit(before) if before else _FAR
            step = right if abs(right) <= abs(left) else -left
            square = _square(dz, dy, step, sizes)
            if square < best:
                best = square
                found[0], found[1], found[2], found[3] = dz, dy, step, 1
    return best
