"""From the runs of one label in two volumes to its surface Dice: which surface lies near the other's?

A surface element is a corner of the voxel grid whose eight voxels are not all inside or all outside. It is
a hit if an element of the other volume lies within the tolerance. NSD is the area of the hits of both
volumes over the area of all elements of both. Nothing here is approximate: hits are decided one by one and
counted as integers, by the corner's code; areas come in at the very end.

Four steps, each on words of 64 neighbours along x:

1. `draw` (masks.py) paints the runs into a mask, one bit per voxel, in a box around the label.

2. `find_corners` finds the surface elements, from the four mask rows that meet in a row of corners:

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

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evaluator.areas import CODES
from evaluator.bits import lowest_bit
from evaluator.compilation import kernel
from evaluator.masks import corner_extent, draw, find_corners, mask_box, mask_words

_LARGEST_BALL_ROWS = 40_000
_LARGEST_BALL_STEPS = 120
_TIE = 1e-12
# Slabs of widened rows of this size stay in the processor's cache: 16 MiB.
_SLAB_WORDS = 2 << 20


@dataclass(frozen=True, eq=False)
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
    steps = [int(min(tolerance_mm / size, 1e6)) + 1 for size in spacing_mm]
    if 4 * steps[1] * steps[2] > _LARGEST_BALL_ROWS or steps[0] > _LARGEST_BALL_STEPS:
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


@kernel
def compare_label(reference_runs, prediction_runs, dz, dy, level, half_widths, reach, scratch):
    """Compare the surfaces of one label in two volumes.

    Args:
        reference_runs: The label's runs in the reference, packed; at least one.
        prediction_runs: The same of the prediction.
        dz: See `Ball`, as the next four.
        dy: Row offsets in y.
        level: Rows' indices into `half_widths`.
        half_widths: Half-widths of rows, ascending.
        reach: How far the ball goes along z, y, x.
        scratch: Memory to work in, uint64, kept from call to call because fresh pages cost more than the
            work itself.

    Returns:
        Counts of surface elements by volume (reference, prediction), missed or hit (0, 1) and code, flat;
        and the words of scratch that are needed. If there are not as many, the counts are not valid.
    """
    counts = np.zeros(4 * CODES, np.int64)
    reference_extent, prediction_extent = corner_extent(reference_runs), corner_extent(prediction_runs)
    reference_box, prediction_box = mask_box(reference_extent), mask_box(prediction_extent)
    common = _common_box(reference_extent, prediction_extent, reach)
    reference_words, prediction_words = mask_words(reference_box), mask_words(prediction_box)
    slab = _slab_slices(common, reach, half_widths.size)
    slice_words = (common[4] + 2 * reach[1]) * common[5]
    widened_words = half_widths.size * (slab + 2 * reach[0]) * slice_words
    needed = 2 * (reference_words + prediction_words) + widened_words + 4 * (slice_words + 2)
    if needed > scratch.size:
        return counts, needed

    reference, rest = scratch[:reference_words], scratch[reference_words:]
    prediction, rest = rest[:prediction_words], rest[prediction_words:]
    reference_surface, rest = rest[:reference_words], rest[reference_words:]
    prediction_surface, rest = rest[:prediction_words], rest[prediction_words:]
    draw(reference_runs, reference_box, reference)
    draw(prediction_runs, prediction_box, prediction)
    find_corners(reference, reference_box, reference_surface)
    find_corners(prediction, prediction_box, prediction_surface)
    ball = (dz, dy, level, half_widths, reach)
    _match(
        reference,
        reference_surface,
        reference_box,
        prediction_surface,
        prediction_box,
        common,
        slab,
        ball,
        rest,
        counts[: 2 * CODES],
    )
    _match(
        prediction,
        prediction_surface,
        prediction_box,
        reference_surface,
        reference_box,
        common,
        slab,
        ball,
        rest,
        counts[2 * CODES :],
    )
    return counts, needed


@kernel
def _common_box(reference_extent, prediction_extent, reach):
    """Return the box outside which no element of one volume can hit one of the other; maybe empty."""
    low = np.empty(3, np.int64)
    size = np.empty(3, np.int64)
    for axis in range(3):
        first = max(reference_extent[2 * axis], prediction_extent[2 * axis]) - reach[axis]
        last = min(reference_extent[2 * axis + 1], prediction_extent[2 * axis + 1]) + reach[axis]
        if axis == 2:
            first = max(first, 0) >> 6
            last = last >> 6
        low[axis] = first
        size[axis] = max(0, last - first + 1)
    if size[0] * size[1] * size[2] == 0:
        size[0] = size[1] = size[2] = 0
    return (low[0], low[1], low[2], size[0], size[1], size[2])


@kernel
def _slab_slices(common, reach, levels):
    """Return how many slices of the common box to match at a time."""
    slice_words = (common[4] + 2 * reach[1]) * common[5] * levels
    return min(common[3], max(1, _SLAB_WORDS // max(1, slice_words) - 2 * reach[0]))


@kernel
def _match(mask, surface, box, others, others_box, common, slab, ball, scratch, counts):
    """Count one volume's elements by hit or miss and code; hits are looked for in the common box only."""
    first_z, first_y, first_word, slices, rows, words = box
    common_z, common_y, common_word, common_slices, common_rows, common_words = common
    dz, dy, level, half_widths, reach = ball
    slab_rows = common_rows + 2 * reach[1]
    slab_slices = slab + 2 * reach[0]
    level_words = slab_slices * slab_rows * common_words
    offsets = np.empty(dz.size, np.int64)
    for k in range(dz.size):
        offsets[k] = level[k] * level_words + (dz[k] * slab_rows + dy[k]) * common_words
    slab_z = slab_end = common_z
    for z in range(first_z + 1, first_z + slices):
        z_is_common = common_z <= z < common_z + common_slices
        if z_is_common and z >= slab_end:
            slab_z, slab_end = z, z + slab
            slab_box = (
                z - reach[0],
                common_y - reach[1],
                common_word,
                slab_slices,
                slab_rows,
                common_words,
            )
            _widen(others, others_box, slab_box, half_widths, scratch)
        for y in range(first_y + 1, first_y + rows):
            row = ((z - first_z) * rows + y - first_y) * words
            is_common = z_is_common and common_y <= y < common_y + common_rows
            base = ((z - slab_z + reach[0]) * slab_rows + y - common_y + reach[1]) * common_words
            for w in range(words):
                elements = surface[row + w]
                if elements == 0:
                    continue
                missed = elements
                word = first_word + w - common_word
                if is_common and 0 <= word < common_words:
                    for k in range(offsets.size):
                        missed &= ~scratch[base + word + offsets[k]]
                        if missed == 0:
                            break
                _count(mask, row + w, rows * words, words, elements, missed, counts)


@kernel
def _count(mask, d, slice_words, row_words, elements, missed, counts):
    """Count the elements of one word by code: the misses from counts[0], the hits from counts[CODES]."""
    one, two, three, top = np.uint64(1), np.uint64(2), np.uint64(3), np.uint64(63)
    c = d - row_words
    b = d - slice_words
    a = b - row_words
    # Bit x of `left_` is voxel x - 1, so that bits x and x + 1 are the two voxels beside corner x.
    left_a = (mask[a] << one) | (mask[a - 1] >> top)
    left_b = (mask[b] << one) | (mask[b - 1] >> top)
    left_c = (mask[c] << one) | (mask[c - 1] >> top)
    left_d = (mask[d] << one) | (mask[d - 1] >> top)
    while elements:
        x = np.uint64(lowest_bit(elements))
        elements &= elements - one
        code = ((left_a >> x) & three) | (((left_b >> x) & three) << two)
        code |= (((left_c >> x) & three) << np.uint64(4)) | (((left_d >> x) & three) << np.uint64(6))
        if x == top:
            code |= ((mask[a] >> top) << one) | ((mask[b] >> top) << three)
            code |= ((mask[c] >> top) << np.uint64(5)) | ((mask[d] >> top) << np.uint64(7))
        hit = one - ((missed >> x) & one)
        counts[(hit << np.uint64(8)) | code] += 1


@kernel
def _widen(surface, box, slab_box, half_widths, scratch):
    """Fill scratch with the elements of a slab, widened by each half-width: level by level, z, y, word."""
    first_z, first_y, first_word, slices, rows, words = box
    slab_z, slab_y, slab_word, slab_slices, slab_rows, slab_words = slab_box
    slice_words = slab_rows * slab_words
    level_words = slab_slices * slice_words
    end = half_widths.size * level_words
    # Two slices with a guard word at each end to widen from one into the other, and for each word whether
    # it has a neighbour in its row to take bits from.
    here, rest = scratch[end : end + slice_words + 2], scratch[end + slice_words + 2 :]
    there, rest = rest[: slice_words + 2], rest[slice_words + 2 :]
    has_left, has_right = rest[:slice_words], rest[slice_words : 2 * slice_words]
    for i in range(slice_words):
        has_left[i] = np.uint64(i % slab_words != 0)
        has_right[i] = np.uint64(i % slab_words != slab_words - 1) << np.uint64(63)
    low = max(0, first_word - slab_word)
    high = min(slab_words, first_word + words - slab_word)
    here[0] = here[slice_words + 1] = there[0] = there[slice_words + 1] = 0
    for z in range(slab_slices):
        for i in range(slice_words):
            here[i + 1] = 0
        if first_z <= slab_z + z < first_z + slices:
            for y in range(max(slab_y, first_y), min(slab_y + slab_rows, first_y + rows)):
                source = ((slab_z + z - first_z) * rows + y - first_y) * words + slab_word - first_word
                target = (y - slab_y) * slab_words + 1
                for w in range(low, high):
                    here[target + w] = surface[source + w]
        width = 0
        for k in range(half_widths.size):
            while width < half_widths[k]:
                width += 1
                _widen_by_one(here, has_left, has_right, there)
                here, there = there, here
            start = k * level_words + z * slice_words
            for i in range(slice_words):
                scratch[start + i] = here[i + 1]


@kernel
def _widen_by_one(source, has_left, has_right, target):
    """Widen the bits of each row by one to both sides; both arrays have a guard word at each end."""
    one, top = np.uint64(1), np.uint64(63)
    here, left, right, out = source[1:], source, source[2:], target[1:]
    for i in range(has_left.size):
        from_left = (left[i] >> top) & has_left[i]
        from_right = (right[i] << top) & has_right[i]
        out[i] = here[i] | (here[i] << one) | (here[i] >> one) | from_left | from_right
