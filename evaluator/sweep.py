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

Where many elements share a line through all slices (every other voxel of an organ), what the slices hold
there are heights of parabolas along that line: the lowest of them answer for all those elements at once.

Crossings are rounded numbers, so at a place near one the parabolas beside it are looked at as well: the
distance that comes out is the smallest as computed, bit by bit what a search finds.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from evaluator.bits import lowest_bit
from evaluator.compilation import inlined, kernel
from evaluator.offsets import gap, squared_length

_CLOSE = 1e-6
"""In voxels: crossings that are nearer than this to each other or to a place count as being there."""

_SHARE = 8
"""A line is crowded where it has more elements than one for so many slices."""

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
    low_layer = layer_of.min()
    deep = layer_of.max() - low_layer + 1
    order = np.argsort(((elements[:, 2] - low_x) * extent + line_of - low) * deep + layer_of - low_layer)
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
    high, heights = np.empty((layers, lines), np.int64), np.empty((layers, lines))
    size_line = sizes[1 if over_z else 2]
    for x in range(width):
        if starts[x] == starts[x + 1]:
            continue
        for layer in range(layers):
            count = counts[layer]
            if count:
                high[layer, :count] = steps[layer, :count, x]
                heights[layer, :count] = (high[layer, :count] * sizes[0]) ** 2
                least[layer] = heights[layer, :count].min()
                kept[layer] = _lowest_parabolas(
                    heights[layer, :count], held[layer], size_line, tops, lowest[layer], begins[layer]
                )
        here = slice(starts[x], starts[x + 1])
        column = (layer_of[here], line_of[here], best[here], found[here])
        _compare_column((high, heights, held, lowest, begins, counts, kept, least), column, sizes, over_z)
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
def _lowest_parabolas(heights, places, size, tops, lowest, begins):
    """Keep the parabolas that are the lowest somewhere along a line; returns how many.

    Two parabolas cross where their heights at 0 differ by as much as their slopes make up for.

    Args:
        heights: How high each is at its own place.
        places: Where along the line that is, ascending.
        size: How far apart places are.
        tops: Room for as many heights.
        lowest: Which parabolas are kept, to be filled in.
        begins: Where each of those begins to be the lowest, to be filled in.
    """
    kept = 0
    slope = 0.5 / (size * size)
    begins[0] = -np.inf
    for k in range(heights.size):
        away = places[k] * size
        tops[k] = (heights[k] + away * away) * slope
        begin = -np.inf
        while kept:
            before = lowest[kept - 1]
            begin = (tops[k] - tops[before]) / (places[k] - places[before])
            if begin >= begins[kept - 1] - _CLOSE:
                break
            kept -= 1
        lowest[kept] = k
        begins[kept] = max(begin, begins[kept - 1]) if kept else -np.inf
        kept += 1
    return kept


@kernel
def _compare_column(curves, column, sizes, over_z):
    """Find the nearest of the lowest parabolas for each element of a column."""
    counts = curves[5]
    line_of = column[1]
    # Where the walk across has come to in each slice.
    walked = np.zeros(counts.size, np.int64)
    room = (
        np.empty(counts.size),
        np.empty(counts.size, np.int64),
        np.empty(counts.size),
        np.empty(counts.size, np.int64),
        np.empty(counts.size + 1),
    )
    first = 0
    while first < line_of.size:
        end = first + 1
        while end < line_of.size and line_of[end] == line_of[first]:
            end += 1
        if _SHARE * (end - first) > counts.size:
            _compare_crowd(curves, column, first, end, walked, room, sizes, over_z)
        else:
            for i in range(first, end):
                _compare_element(curves, column, i, walked, sizes, over_z)
        first = end


@kernel
def _compare_crowd(curves, column, first, end, walked, room, sizes, over_z):
    """Find them for the elements from `first` to `end`, which share a line through all slices."""
    _, heights, held, lowest, begins, counts, kept, _ = curves
    at_line, places, tops, layers_kept, layers_begin = room
    size_layer, size_line = (sizes[2], sizes[1]) if over_z else (sizes[1], sizes[2])
    line = column[1][first]
    filled = 0
    for layer in range(counts.size):
        if counts[layer]:
            walked[layer] = _walk(begins[layer], kept[layer], walked[layer], line)
            nearest = lowest[layer, walked[layer]]
            across = (held[layer, nearest] - line) * size_line
            at_line[filled], places[filled] = heights[layer, nearest] + across * across, layer
            filled += 1
    count = _lowest_parabolas(at_line[:filled], places, size_layer, tops, layers_kept, layers_begin)
    at = 0
    for i in range(first, end):
        own = column[0][i]
        at = _walk(layers_begin, count, at, own)
        k = _first_close(layers_begin, at, own)
        while k < count and (k <= at or layers_begin[k] <= own + 2 * _CLOSE):
            _compare_layer(curves, column, i, places[layers_kept[k]], walked, sizes, over_z)
            k += 1


@inlined
def _compare_element(curves, column, i, walked, sizes, over_z):
    """Find it for one element, its own slice first."""
    counts, least, held = curves[5], curves[7], curves[2]
    layer_of, line_of, best, _ = column
    size_layer, size_line = (sizes[2], sizes[1]) if over_z else (sizes[1], sizes[2])
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
        beside = gap(line, held[layer, 0], held[layer, counts[layer] - 1]) * size_line
        if counts[layer] and (least[layer] + beside * beside + square) * _SURELY < best[i]:
            _compare_layer(curves, column, i, layer, walked, sizes, over_z)


@inlined
def _compare_layer(curves, column, i, layer, walked, sizes, over_z):
    """Compare the best that an element found with the nearest one in a slice."""
    high, _, held, lowest, begins, _, kept, _ = curves
    layer_of, line_of, best, found = column
    line, apart = line_of[i], abs(layer - layer_of[i])
    begin = begins[layer]
    k = _walk(begin, kept[layer], walked[layer], line)
    walked[layer] = k
    first = _first_close(begin, k, line)
    while first < kept[layer] and (first <= k or begin[first] <= line + 2 * _CLOSE):
        nearest = lowest[layer, first]
        across = abs(held[layer, nearest] - line)
        dz, dy = (apart, across) if over_z else (across, apart)
        whole = squared_length(dz, dy, high[layer, nearest], sizes)
        if whole < best[i]:
            best[i] = whole
            found[i, 0], found[i, 1], found[i, 2] = dz, dy, high[layer, nearest]
        first += 1


@inlined
def _walk(begins, kept, k, place):
    """Return the last of the lowest parabolas that begins before a place, looking from the k-th on."""
    while k + 1 < kept and begins[k + 1] < place:
        k += 1
    return k


@kernel
def _nearer_layer(own, down, up, layers):
    """Return the nearer of two slices, one on each side, of which one may be outside of them all."""
    if down < 0:
        return up
    if up >= layers:
        return down
    return down if abs(own - down) <= abs(up - own) else up


@kernel
def _first_close(begins, k, place):
    """Return the first parabola that a place may belong to, given the last one that begins before it."""
    while k and begins[k] >= place - 2 * _CLOSE:
        k -= 1
    return k
