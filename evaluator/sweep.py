"""The nearest elements of another surface for very many elements at once, at a cost that no input can raise.

Far from a smooth surface, a search for the nearest of its elements has to look at hundreds that are almost as
near. Where thousands of elements are far away (specks all over a volume, an organ in the wrong place), the
other surface is gone through slice by slice instead. In a slice, the square of the distance from each row
with elements is a parabola across it, as high as the row's nearest element is far along x, and the lowest
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

_SURELY = 1 - 1e-12
"""A bound that is so much smaller is one whatever its rounding."""


@kernel
def sweep(elements, others, box, sizes):
    """Return the offsets to the nearest element of another surface, along z, y and x without sign, n x 3.

    Slices are those across z or across y, whichever are fewer; the other of the two is called `across` here.

    Args:
        elements: Their places along z, y, x: n x 3 or more columns.
        others: The other surface, at least one element.
        box: Its box (masks.py).
        sizes: Voxel size along x, y, z.
    """
    first_z, first_y, first_word, slices, rows, words = box
    over_z = slices <= rows
    layers, lines = (slices, rows) if over_z else (rows, slices)
    first_layer, first_line = (first_z, first_y) if over_z else (first_y, first_z)
    layer_of, line_of = (elements[:, 0], elements[:, 1]) if over_z else (elements[:, 1], elements[:, 0])
    low, low_x = line_of.min(), elements[:, 2].min()
    extent, width = line_of.max() - low + 1, elements[:, 2].max() - low_x + 1
    # By x and then across, so that one walk answers for all elements of a column.
    order = np.argsort((elements[:, 2] - low_x) * extent + line_of)
    starts = np.searchsorted(elements[order, 2], np.arange(low_x, low_x + width + 1))
    layer_of, line_of = layer_of[order] - first_layer, line_of[order] - low
    best, found = np.full(order.size, np.inf), np.zeros((order.size, 3), np.int64)
    steps, held = np.empty((layers, lines, width), np.int32), np.empty((layers, lines), np.int64)
    counts = np.zeros(layers, np.int64)
    places, tops = np.empty(64 * words, np.int64), np.empty(lines)
    for layer in range(layers):
        for line in range(lines):
            row = (layer * rows + line if over_z else line * rows + layer) * words
            room = steps[layer, counts[layer]]
            if _steps_along(others, row, 64 * first_word - low_x, places, room):
                held[layer, counts[layer]] = first_line + line - low
                counts[layer] += 1
    lowest, begins = np.empty((layers, lines), np.int64), np.empty((layers, lines + 1))
    kept, least = np.zeros(layers, np.int64), np.empty(layers)
    for x in range(width):
        if starts[x] == starts[x + 1]:
            continue
        for layer in range(layers):
            if counts[layer]:
                high = steps[layer, : counts[layer], x]
                least[layer] = (high.min() * sizes[0]) ** 2
                size_line = sizes[1 if over_z else 2]
                kept[layer] = _lowest_parabolas(
                    high, held[layer], sizes[0], size_line, tops, lowest[layer], begins[layer]
                )
        here = slice(starts[x], starts[x + 1])
        column = (layer_of[here], line_of[here], best[here], found[here])
        curves = (steps[:, :, x], held, lowest, begins, counts, kept, least)
        _compare_column(curves, column, sizes, over_z)
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
def _lowest_parabolas(steps, held, size_x, size_across, tops, lowest, begins):
    """Keep the parabolas of rows that are the lowest somewhere across; returns how many.

    Two parabolas cross where their heights at 0 differ by as much as their slopes make up for.
    """
    kept = 0
    slope = 0.5 / (size_across * size_across)
    begins[0] = -np.inf
    for k in range(steps.size):
        high, away = steps[k] * size_x, held[k] * size_across
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
def _compare_column(curves, column, sizes, over_z):
    """Find the nearest of the lowest parabolas for each element of a column, its own slice first."""
    steps, held, lowest, begins, counts, kept, least = curves
    layer_of, line_of, best, found = column
    size_layer, size_line = (sizes[2], sizes[1]) if over_z else (sizes[1], sizes[2])
    # Where the walk across has come to in each slice.
    walked = np.zeros(counts.size, np.int64)
    for i in range(line_of.size):
        line, own = line_of[i], layer_of[i]
        down = min(max(own, 0), counts.size - 1)
        up = down + 1
        for _ in range(counts.size):
            layer = _nearer_layer(own, down, up, counts.size)
            down, up = (down - 1, up) if layer == down else (down, up + 1)
            apart = abs(layer - own)
            square = (apart * size_layer) * (apart * size_layer)
            if square >= best[i]:
                break
            beside = _gap(line, held[layer, 0], held[layer, counts[layer] - 1]) * size_line
            if counts[layer] == 0 or (least[layer] + beside * beside + square) * _SURELY >= best[i]:
                continue
            k, begin = walked[layer], begins[layer]
            while k + 1 < kept[layer] and begin[k + 1] < line:
                k += 1
            walked[layer] = k
            first = _first_close(begin, k, line)
            while first < kept[layer] and (first <= k or begin[first] <= line + 2 * _CLOSE):
                nearest = lowest[layer, first]
                across = abs(held[layer, nearest] - line)
                dz, dy = (apart, across) if over_z else (across, apart)
                whole = _square(dz, dy, steps[layer, nearest], sizes)
                if whole < best[i]:
                    best[i] = whole
                    found[i, 0], found[i, 1], found[i, 2] = dz, dy, steps[layer, nearest]
                first += 1


@kernel
def _nearer_layer(own, down, up, layers):
    """Return the nearer of two slices, one on each side, of which one may be outside of them all."""
    if down < 0:
        return up
    if up >= layers:
        return down
    return down if abs(own - down) <= abs(up - own) else up


@kernel
def _gap(place, first, last):
    return max(first - place, place - last, 0)


@kernel
def _first_close(begins, k, place):
    """Return the first parabola that a place may belong to, given the last one that begins before it."""
    while k and begins[k] >= place - 2 * _CLOSE:
        k -= 1
    return k


@kernel
def _square(dz, dy, dx, sizes):
    """Return the squared length of an offset, in the order of operations of SciPy's distance transform."""
    x, y, z = dx * sizes[0], dy * sizes[1], dz * sizes[2]
    return ((x * x) + (y * y)) + (z * z)
