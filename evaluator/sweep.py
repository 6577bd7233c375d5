"""The nearest elements of another surface for very many elements at once, at a cost that no input can raise.

Far from a smooth surface, a search for the nearest of its elements has to look at hundreds that are almost as
near. Where thousands of elements are far away (specks all over a volume, an organ in the wrong place), the
other surface is gone through slice by slice instead. In a slice, the square of the distance from each row
with elements is a parabola along y, as high as the row's nearest element is far along x, and the lowest
parabola at each place is the nearest element there (Felzenszwalb and Huttenlocher, Theory of Computing 8:415,
2012):

                   .     '     .      Only parabolas that are the lowest somewhere are kept, and where each
          .     '         .  '        begins to be it. Every element then compares its place in the slice
            ' .            '          with what it found in the slices before.
    row    1        2      3

Crossings are rounded numbers, so at a place near one the parabolas beside it are looked at as well: the
distance that comes out is the smallest as computed, bit by bit what a search finds.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from evaluator.bits import lowest_bit
from evaluator.compilation import kernel

_CLOSE = 1e-6
"""In voxels: crossings that are nearer than this to each other or to a place count as being there."""


@kernel
def sweep(elements, others, box, sizes):
    """Return the offsets to the nearest element of another surface, along z, y and x without sign, n x 3.

    Args:
        elements: Their places along z, y, x: n x 3 or more columns.
        others: The other surface, at least one element.
        box: Its box (masks.py).
        sizes: Voxel size along x, y, z.
    """
    first_z, first_y, first_word, slices, rows, words = box
    low_y, low_x = elements[:, 1].min(), elements[:, 2].min()
    height, width = elements[:, 1].max() - low_y + 1, elements[:, 2].max() - low_x + 1
    # By x and then y, so that one walk along y answers for all elements of a column.
    order = np.argsort((elements[:, 2] - low_x) * height + elements[:, 1])
    starts = np.searchsorted(elements[order, 2], np.arange(low_x, low_x + width + 1))
    z_of, y_of = elements[order, 0], elements[order, 1] - low_y
    best, found = np.full(order.size, np.inf), np.zeros((order.size, 3), np.int64)
    steps, held = np.empty((rows, width), np.int32), np.empty(rows, np.int64)
    places, tops = np.empty(64 * words, np.int64), np.empty(rows)
    lowest, begins = np.empty(rows, np.int64), np.empty(rows + 1)
    for z in range(slices):
        count = 0
        for y in range(rows):
            if _steps_along(others, (z * rows + y) * words, 64 * first_word - low_x, places, steps[count]):
                held[count] = first_y + y - low_y
                count += 1
        for x in range(width if count else 0):
            here = slice(starts[x], starts[x + 1])
            if starts[x] < starts[x + 1]:
                high = steps[:count, x]
                kept = _lowest_parabolas(high, held, sizes, tops, lowest, begins)
                column = (z_of[here], y_of[here], best[here], found[here])
                _compare_column(high, held, sizes, lowest[:kept], begins, first_z + z, column)
    offsets = np.empty_like(found)
    for i in range(order.size):
        offsets[order[i]] = found[i]
    return offsets


@kernel
def _steps_along(others, row, first_x, places, steps):
    """Fill in how far each place of a row is from the row's nearest element; returns whether it has any."""
    count = 0
    for word in range(places.size // 64):
        bits = others[row + word]
        while bits:
            places[count] = first_x + 64 * word + lowest_bit(bits)
            bits &= bits - np.uint64(1)
            count += 1
    if count == 0:
        return False
    nearest = 0
    for x in range(steps.size):
        while nearest + 1 < count and abs(places[nearest + 1] - x) <= abs(places[nearest] - x):
            nearest += 1
        steps[x] = abs(places[nearest] - x)
    return True


@kernel
def _lowest_parabolas(steps, held, sizes, tops, lowest, begins):
    """Keep the parabolas of rows that are the lowest somewhere along y; returns how many.

    Two parabolas cross where their heights at 0 differ by as much as their slopes make up for.
    """
    kept = 0
    slope = 0.5 / (sizes[1] * sizes[1])
    begins[0] = -np.inf
    for k in range(steps.size):
        high, away = steps[k] * sizes[0], held[k] * sizes[1]
        tops[k] = (high * high + away * away) * slope
        begin = -np.inf
        while kept:
            before = lowest[kept - 1]
            begin = (tops[k] - tops[before]) / (held[k] - held[before])
            if begin >= begins[kept - 1] - _CLOSE:
                break
            kept -= 1
        lowest[kept] = k
        begins[kept] = max(begin, begins[kept - 1]) if kept else -np.inf
        kept += 1
    return kept


@kernel
def _compare_column(steps, held, sizes, lowest, begins, z, column):
    """Compare what the elements of a column found before with the lowest parabolas of slice z."""
    z_of, y_of, best, found = column
    k = step_y = step_x = 0
    y, square = np.int64(-1), np.inf
    for i in range(y_of.size):
        dz = abs(z - z_of[i])
        square_z = (dz * sizes[2]) * (dz * sizes[2])
        if square_z >= best[i]:
            continue
        if y_of[i] != y:
            y = y_of[i]
            while k + 1 < lowest.size and begins[k + 1] < y:
                k += 1
            square, step_y, step_x = _lowest_at(y, k, steps, held, sizes, lowest, begins)
        if square + square_z < best[i]:
            best[i] = square + square_z
            found[i, 0], found[i, 1], found[i, 2] = dz, step_y, step_x


@kernel
def _lowest_at(y, k, steps, held, sizes, lowest, begins):
    """Return the lowest height at a place, and the steps along y and x that it stands for.

    Args:
        y: The place, in the stretch of parabola k.
        k: Index into `lowest`; those that begin or end close by are looked at, too.
        steps: How far each row's nearest element is along x.
        held: The rows.
        sizes: Voxel sizes.
        lowest: Rows whose parabolas are the lowest somewhere.
        begins: Where.
    """
    first, last = k, k
    while first and begins[first] >= y - 2 * _CLOSE:
        first -= 1
    while last + 1 < lowest.size and begins[last + 1] <= y + 2 * _CLOSE:
        last += 1
    square, nearest = np.inf, 0
    for candidate in range(first, last + 1):
        row = lowest[candidate]
        along_x, along_y = steps[row] * sizes[0], (held[row] - y) * sizes[1]
        height = (along_x * along_x) + (along_y * along_y)
        if height < square:
            square, nearest = height, row
    return square, abs(held[nearest] - y), np.int64(steps[nearest])
