"""From the runs of one label in two volumes to its surface Dice: which surface lies near the other's?

A surface element is a corner of the voxel grid whose eight voxels are not all inside or all outside. It is
a hit if an element of the other volume lies within the tolerance. NSD is the area of the hits of both
volumes over the area of all elements of both. Nothing here is approximate: hits are decided one by one and
counted as integers, by the corner's code; areas come in at the very end.

Four steps, each on words of 64 neighbours along x:

1. `_draw` paints the runs into a mask, one bit per voxel, in a box around the label.

2. `_corners` finds the surface elements, from the four mask rows that meet in a row of corners:

       a | b       rows z-1:  a = y-1, b = y        any = a | b | c | d, and the same one voxel to the left
       --+--                                        all = a & b & c & d, and the same one voxel to the left
       c | d       rows z:    c = y-1, d = y        surface = any & ~all

3. `_widen` prepares one volume's elements for the question "is there one within w steps along x?", for
   each half-width w at which the tolerance cuts a row of corners:

       elements    . . . . # . . . . . . . # . .
       w = 1       . . . # # # . . . . . # # # .
       w = 2       . . # # # # # . . . # # # # #

4. `_match` goes through the other volume's elements. The ball of the tolerance around an element is a stack
   of rows, nearest first, each with its half-width:

                   ( = = = )          dy -2, w 1       A word of up to 64 elements is asked at once:
                 ( = = = = = )        dy -1, w 2       what is left of it after each row has found no
                 ( = = X = = )        dy  0, w 2       partner yet, and it stops when nothing is left.
                 ( = = = = = )        dy +1, w 2
                   ( = = = )          dy +2, w 1

   Then each element's code is read off the mask and counted as hit or miss.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evaluator._bits import count_bits, lowest_bit
from evaluator._compile import kernel
from evaluator.areas import CODES

_LARGEST_BALL_ROWS = 40_000
_LARGEST_BALL_LEVELS = 64
_WIDENED_WORDS = 4 << 20
_TIE = 1e-12


@dataclass(frozen=True)
class Ball:
    """The corners within a tolerance of a corner, as rows along x, nearest row first.

    Attributes:
        dz: Row offset in z.
        dy: Row offset in y.
        level: Index into `half_widths`.
        half_widths: The different half-widths of rows, ascending, in steps along x.
        reach: How far the ball goes along z, y, x, in steps.
    """

    dz: NDArray[np.int64]
    dy: NDArray[np.int64]
    level: NDArray[np.int64]
    half_widths: NDArray[np.int64]
    reach: NDArray[np.int64]


@lru_cache(maxsize=256)
def balls(tolerance_mm: float, spacing_mm: tuple[float, float, float]) -> tuple[Ball, ...] | None:
    """Return the ball of a tolerance, or two where rounding makes its rim uncertain.

    Distances are computed with the floating-point operations of SciPy's distance transform, in its order,
    which surface-distance compares with the tolerance. Where different offsets of the same true distance
    (3-4-5 triangles) come out as the tolerance and as a rounding error more, that transform may have picked
    either. Then the balls without and with the rim are returned; if they agree, the rim did not matter.

    Args:
        tolerance_mm: Largest distance of a hit.
        spacing_mm: Voxel size along x, y, z.

    Returns:
        One or two balls; `None` if the ball has too many rows to be walked.
    """
    steps = [int(tolerance_mm / size) + 1 for size in spacing_mm]
    if 4 * steps[1] * steps[2] > 2 * _LARGEST_BALL_ROWS or steps[0] > 4 * _LARGEST_BALL_LEVELS:
        return None
    x, y, z = (np.arange(count + 2) * size for count, size in zip(steps, spacing_mm, strict=True))
    distances = np.sqrt((x * x) + (y * y)[:, None] + (z * z)[:, None, None])
    rim = np.abs(distances - tolerance_mm) <= _TIE * tolerance_mm
    inside = distances <= tolerance_mm
    if (rim & inside).any() and (rim & ~inside).any():
        return _ball(inside & ~rim, distances), _ball(inside | rim, distances)
    return (_ball(inside, distances),)


def _ball(inside: NDArray[np.bool_], distances: NDArray[np.float64]) -> Ball:
    """Return the rows of a ball, given one octant of it on axes z, y, x."""
    widths = inside.sum(axis=2) - 1
    dz, dy = np.nonzero(widths >= 0)
    nearest = distances[dz, dy, 0]
    half = widths[dz, dy]
    rows = np.array(
        [
            (distance, sign_z * z, sign_y * y, width)
            for distance, z, y, width in zip(nearest, dz, dy, half, strict=True)
            for sign_z in ((1, -1) if z else (1,))
            for sign_y in ((1, -1) if y else (1,))
        ]
    ).reshape(-1, 4)
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    half_widths, level = np.unique(rows[:, 3].astype(np.int64), return_inverse=True)
    reach = [dz.max(initial=0), dy.max(initial=0), half.max(initial=0)]
    return Ball(
        rows[:, 1].astype(np.int64),
        rows[:, 2].astype(np.int64),
        level.astype(np.int64),
        half_widths,
        np.array(reach, np.int64),
    )


# A box is (first z, first y, first word, slices, rows, words per row). Row (z, y) of its bits begins at
# ((z - first z) * rows + y - first y) * words. Mask boxes have an empty slice and row on each side of the
# label, so that the four rows around every corner are inside.


@kernel
def compare_label(runs_a, runs_b, dz, dy, level, half_widths, reach):  # type: ignore[no-untyped-def]
    """Compare one label of two volumes.

    Args:
        runs_a: The label's runs in one volume, packed; at least one.
        runs_b: The same of the other.
        dz: See `Ball`, as the rest.
        dy: Row offsets in y.
        level: Rows' indices into `half_widths`.
        half_widths: Half-widths of rows, ascending.
        reach: How far the ball goes along z, y, x.

    Returns:
        Counts of surface elements by volume (a, b), missed or hit (0, 1) and code, flat; and the number of
        voxels that carry the label in both volumes.
    """
    counts = np.zeros(4 * CODES, np.int64)
    extent_a, extent_b = _extent(runs_a), _extent(runs_b)
    box_a, box_b = _mask_box(extent_a), _mask_box(extent_b)
    mask_a, mask_b = _draw(runs_a, box_a), _draw(runs_b, box_b)
    overlap = _overlap(mask_a, box_a, mask_b, box_b)
    surface_a, surface_b = _corners(mask_a, box_a), _corners(mask_b, box_b)
    common = _common_box(extent_a, extent_b, reach)
    _match(
        mask_a,
        surface_a,
        box_a,
        surface_b,
        box_b,
        common,
        dz,
        dy,
        level,
        half_widths,
        reach,
        counts[: 2 * CODES],
    )
    _match(
        mask_b,
        surface_b,
        box_b,
        surface_a,
        box_a,
        common,
        dz,
        dy,
        level,
        half_widths,
        reach,
        counts[2 * CODES :],
    )
    return counts, overlap


@kernel
def _extent(runs):  # type: ignore[no-untyped-def]
    """Return the first and last z, y and x of the corners around the voxels of the runs."""
    largest = 1 << 16
    extent = np.array([largest, -1, largest, -1, largest, -1], np.int64)
    for i in range(runs.size):
        z, y, first, last = _unpack(runs[i])
        extent[0] = min(extent[0], z)
        extent[1] = max(extent[1], z + 1)
        extent[2] = min(extent[2], y)
        extent[3] = max(extent[3], y + 1)
        extent[4] = min(extent[4], first)
        extent[5] = max(extent[5], last + 1)
    return extent


@kernel
def _unpack(run):  # type: ignore[no-untyped-def]
    low = np.uint64(0xFFFF)
    return (
        np.int64(run >> np.uint64(48)),
        np.int64((run >> np.uint64(32)) & low),
        np.int64((run >> np.uint64(16)) & low),
        np.int64(run & low),
    )


@kernel
def _mask_box(extent):  # type: ignore[no-untyped-def]
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
def _common_box(extent_a, extent_b, reach):  # type: ignore[no-untyped-def]
    """Return the box outside which no element of one volume can hit one of the other."""
    low = np.empty(3, np.int64)
    size = np.empty(3, np.int64)
    for axis in range(3):
        first = max(extent_a[2 * axis], extent_b[2 * axis]) - reach[axis]
        last = min(extent_a[2 * axis + 1], extent_b[2 * axis + 1]) + reach[axis]
        if axis == 2:
            first = max(first, 0) >> 6
            last = last >> 6
        low[axis] = first
        size[axis] = max(0, last - first + 1)
    return (low[0], low[1], low[2], size[0], size[1], size[2])


@kernel
def _draw(runs, box):  # type: ignore[no-untyped-def]
    """Return the mask of the runs: one bit per voxel, in the box."""
    first_z, first_y, first_word, slices, rows, words = box
    mask = np.zeros(slices * rows * words, np.uint64)
    full = ~np.uint64(0)
    for i in range(runs.size):
        z, y, first, last = _unpack(runs[i])
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
    return mask


@kernel
def _overlap(mask_a, box_a, mask_b, box_b):  # type: ignore[no-untyped-def]
    """Count the voxels that are in both masks."""
    z_a, y_a, w_a, slices_a, rows_a, words_a = box_a
    z_b, y_b, w_b, slices_b, rows_b, words_b = box_b
    count = 0
    first_word = max(w_a, w_b)
    words = min(w_a + words_a, w_b + words_b) - first_word
    for z in range(max(z_a, z_b), min(z_a + slices_a, z_b + slices_b)):
        for y in range(max(y_a, y_b), min(y_a + rows_a, y_b + rows_b)):
            row_a = ((z - z_a) * rows_a + y - y_a) * words_a + first_word - w_a
            row_b = ((z - z_b) * rows_b + y - y_b) * words_b + first_word - w_b
            for w in range(words):
                count += count_bits(mask_a[row_a + w] & mask_b[row_b + w])
    return count


@kernel
def _corners(mask, box):  # type: ignore[no-untyped-def]
    """Return the surface elements: one bit per corner, bit (z, y, x) at the low corner of voxel (z, y, x)."""
    _, _, _, slices, rows, words = box
    surface = np.zeros(mask.size, np.uint64)
    one, top = np.uint64(1), np.uint64(63)
    for z in range(1, slices):
        for y in range(1, rows):
            d = (z * rows + y) * words
            c = d - words
            b = d - rows * words
            a = b - words
            any_before = np.uint64(0)
            all_before = np.uint64(0)
            for w in range(words):
                any_here = mask[a + w] | mask[b + w] | mask[c + w] | mask[d + w]
                all_here = mask[a + w] & mask[b + w] & mask[c + w] & mask[d + w]
                some = any_here | (any_here << one) | (any_before >> top)
                full = all_here & ((all_here << one) | (all_before >> top))
                surface[d + w] = some & ~full
                any_before, all_before = any_here, all_here
    return surface


@kernel
def _match(mask, surface, box, others, others_box, common, dz, dy, level, half_widths, reach, counts):  # type: ignore[no-untyped-def]
    """Count the elements of one volume by hit or miss and code, slab by slab to bound the memory."""
    first_z, first_y, first_word, slices, rows, words = box
    common_z, common_y, common_word, common_slices, common_rows, common_words = common
    row_words = half_widths.size * common_words
    widened_rows = common_rows + 2 * reach[1]
    slab = max(1, _WIDENED_WORDS // max(1, widened_rows * row_words) - 2 * reach[0])
    if half_widths.size == 0:
        common_slices = 0
    offsets = np.empty(dz.size, np.int64)
    for k in range(dz.size):
        offsets[k] = (dz[k] * widened_rows + dy[k]) * row_words + level[k] * common_words
    widened_z = common_z
    widened_end = common_z
    widened = np.empty(0, np.uint64)
    for z in range(first_z + 1, first_z + slices):
        z_is_common = common_z <= z < common_z + common_slices
        if z_is_common and z >= widened_end:
            widened_z = z
            widened_end = min(z + slab, common_z + common_slices)
            slab_box = (
                z - reach[0],
                common_y - reach[1],
                common_word,
                widened_end - z + 2 * reach[0],
                widened_rows,
                common_words,
            )
            widened = _widen(others, others_box, slab_box, half_widths)
        for y in range(first_y + 1, first_y + rows):
            row = ((z - first_z) * rows + y - first_y) * words
            is_common = z_is_common and common_y <= y < common_y + common_rows
            base = ((z - widened_z + reach[0]) * widened_rows + y - common_y + reach[1]) * row_words
            for w in range(words):
                elements = surface[row + w]
                if elements == 0:
                    continue
                missed = elements
                word = first_word + w - common_word
                if is_common and 0 <= word < common_words:
                    for k in range(offsets.size):
                        missed &= ~widened[base + word + offsets[k]]
                        if missed == 0:
                            break
                _count(mask, row + w, w > 0, rows * words, words, elements, missed, counts)


@kernel
def _count(mask, d, has_left, slice_words, row_words, elements, missed, counts):  # type: ignore[no-untyped-def]
    """Count the elements of one word of corners: misses from counts[0], hits from counts[CODES]."""
    one, two, three = np.uint64(1), np.uint64(2), np.uint64(3)
    top = np.uint64(63)
    c = d - row_words
    b = d - slice_words
    a = b - row_words
    # Two bits per row of four, bit x of `left` being voxel x - 1.
    last_a, last_b, last_c, last_d = mask[a] >> top, mask[b] >> top, mask[c] >> top, mask[d] >> top
    left_a, left_b, left_c, left_d = mask[a] << one, mask[b] << one, mask[c] << one, mask[d] << one
    if has_left:
        left_a |= mask[a - 1] >> top
        left_b |= mask[b - 1] >> top
        left_c |= mask[c - 1] >> top
        left_d |= mask[d - 1] >> top
    while elements:
        x = np.uint64(lowest_bit(elements))
        elements &= elements - one
        code = ((left_a >> x) & three) | (((left_b >> x) & three) << two)
        code |= (((left_c >> x) & three) << np.uint64(4)) | (((left_d >> x) & three) << np.uint64(6))
        if x == top:
            code |= (last_a << one) | (last_b << three) | (last_c << np.uint64(5)) | (last_d << np.uint64(7))
        hit = one - ((missed >> x) & one)
        counts[(hit << np.uint64(8)) | code] += 1


@kernel
def _widen(surface, box, slab_box, half_widths):  # type: ignore[no-untyped-def]
    """Return the elements widened by each half-width, for each row of the slab, level after level."""
    first_z, first_y, first_word, slices, rows, words = box
    slab_z, slab_y, slab_word, slab_slices, slab_rows, slab_words = slab_box
    levels = half_widths.size
    one, top = np.uint64(1), np.uint64(63)
    widened = np.zeros(slab_slices * slab_rows * levels * slab_words, np.uint64)
    for z in range(max(slab_z, first_z), min(slab_z + slab_slices, first_z + slices)):
        for y in range(max(slab_y, first_y), min(slab_y + slab_rows, first_y + rows)):
            source = ((z - first_z) * rows + y - first_y) * words + slab_word - first_word
            target = ((z - slab_z) * slab_rows + y - slab_y) * levels * slab_words
            low = max(0, first_word - slab_word)
            high = min(slab_words, first_word + words - slab_word)
            seen = np.uint64(0)
            for w in range(low, high):
                seen |= surface[source + w]
            if seen == 0:
                continue
            for w in range(low, high):
                widened[target + w] = surface[source + w]
            width = 0
            for k in range(levels):
                if k > 0:
                    for w in range(slab_words):
                        widened[target + w] = widened[target + w - slab_words]
                while width < half_widths[k]:
                    width += 1
                    before = np.uint64(0)
                    for w in range(slab_words):
                        here = widened[target + w]
                        after = widened[target + w + 1] if w + 1 < slab_words else np.uint64(0)
                        widened[target + w] = (
                            here | (here << one) | (before >> top) | (here >> one) | (after << top)
                        )
                        before = here
                target += slab_words
    return widened
