"""The nearest element of another surface, for every element of one, however far away it is.

Both surfaces are bit masks (masks.py), and four steps go from near to far:

1. Where predictions are good, the partner is a voxel or two away. All elements of a word, up to 64, are held
   against the other surface moved by each of the shortest offsets, nearest first, until each has a partner.
2. An element that is left looks at the rows of the other surface around it, nearest row first, and in each
   for the nearest set bit to its left and right, until no row that is left can be nearer than what it found:

                   8 4 7
                   3 1 2       order of the rows around an element, looking along x
                   9 5 6

3. An element that finds nothing sure there goes through all blocks of the mask that may hold anything nearer
   than the best yet (blocks.py). The best to begin with are the partners of elements before, which are
   neighbours and so tell almost the truth.

4. Where more than a thousand elements get that far, the others are not searched for one by one: the other
   surface is gone through slice by slice, once for all of them (sweep.py), if that costs less.

What comes out is not a list of distances but a count per offset in voxels along z, y and x, and corner code:
distances, means, percentiles and shares all follow from that, for any spacing, and there are few of them.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evaluator.areas import CODES
from evaluator.bits import count_bits, highest_bit, lowest_bit
from evaluator.blocks import BLOCK, CELL, FAR, find_filled, search_blocks
from evaluator.compilation import kernel
from evaluator.masks import corner_code
from evaluator.offsets import squared_length
from evaluator.sweep import sweep
from evaluator.tally import content, grown, new_tally, slot_of

_NEAR_ROWS = 96
_FARTHEST_ROW = 12
_NEAR_STEPS = 3
_NEAR_OFFSETS = 64
_SEARCHED = 1024
"""How many far elements are searched for one by one before the others wait for each other."""
_CROWD = 1 << 19
"""How many may wait at a time: 32 MiB."""
_PLACES_PER_SEARCH = 1500
"""How many places of slices are swept in the time of one far search."""


@dataclass(frozen=True, eq=False)
class Order:
    """In which order places around an element are looked at, for one voxel size.

    Attributes:
        offsets: The shortest offsets along z, y and |x|, nearest first: n x 3. None left out is nearer.
        rows: Offsets along z and y of the nearest rows, nearest first: n x 2. The same.
        sizes: Voxel size along x, y, z.
    """

    offsets: NDArray[np.int64]
    rows: NDArray[np.int64]
    sizes: NDArray[np.float64]


@lru_cache(maxsize=256)
def search_order(spacing_mm: tuple[float, float, float]) -> Order:
    """Return the order for voxel sizes along x, y, z."""
    size_x, size_y, size_z = spacing_mm
    steps = np.arange(-_NEAR_STEPS, _NEAR_STEPS + 1)
    offsets = _nearest_first((steps, steps, steps[steps >= 0]), (size_z, size_y, size_x), _NEAR_STEPS)
    steps = np.arange(-_FARTHEST_ROW, _FARTHEST_ROW + 1)
    rows = _nearest_first((steps, steps), (size_z, size_y), _FARTHEST_ROW)
    return Order(offsets[:_NEAR_OFFSETS], rows[:_NEAR_ROWS], np.array(spacing_mm))


def _nearest_first(
    axes: tuple[NDArray[np.int64], ...], sizes: tuple[float, ...], farthest: int
) -> NDArray[np.int64]:
    """Return the combinations of steps within the largest ball that `farthest` steps hold, nearest first."""
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1)
    squares = ((grid * np.array(sizes)) ** 2)[:, ::-1].cumsum(axis=1)[:, -1]
    grid, squares = (array[squares < ((farthest + 1) * min(sizes)) ** 2] for array in (grid, squares))
    return np.ascontiguousarray(grid[np.argsort(squares, kind="stable")])


@kernel
def count_offsets(one, other, offsets, near_rows, sizes, counts_codes):
    """Count the elements of a surface by the offset to the nearest element of another.

    Args:
        one: Mask, surface and box of the elements that are counted.
        other: The same of those that are looked for; at least one.
        offsets: See `Order`, as the next two.
        near_rows: Offsets of rows.
        sizes: Voxel sizes.
        counts_codes: Whether elements are told apart by their corner code.

    Returns:
        Keys, ascending: |dz|, |dy|, |dx| in 16 bits each and the code in 8; and how many elements have each.
    """
    mask, surface, box = one
    _, others, others_box = other
    first_z, first_y, first_word, _, rows, words = box
    near_counts = np.zeros((offsets.shape[0], CODES), np.int32)
    keys, counts = new_tally()
    used = 0
    cells = blocks = np.zeros((1, 1, 1), np.uint64)
    found = np.zeros(4, np.int64)
    # Partners of the last far element in each row and word, and of the last one of all.
    partners = np.full((rows * words + 1, 3), FAR, np.int64)
    searches = waiting = 0
    is_far = False
    crowd = np.empty((0, 5), np.int64)
    for i in range(surface.size):
        if surface[i] == 0:
            continue
        z, y, word = first_z + i // words // rows, first_y + i // words % rows, first_word + i % words
        elements = _match_near(mask, surface[i], i, box, others, others_box, z, y, word, offsets, near_counts)
        while elements:
            bit = lowest_bit(elements)
            elements &= elements - np.uint64(1)
            x = 64 * word + bit
            code = corner_code(mask, i, rows * words, words, np.uint64(bit)) if counts_codes else 0
            here = i % (rows * words)
            if searches == _SEARCHED:
                if crowd.size == 0:
                    crowd = np.empty((min(_elements_from(surface, i), _CROWD), 5), np.int64)
                crowd[waiting, 0], crowd[waiting, 1], crowd[waiting, 2] = z, y, x
                crowd[waiting, 3], crowd[waiting, 4] = code, here
                waiting += 1
                if waiting == _CROWD:
                    far = _partners_of(
                        crowd, others, others_box, (cells, blocks), partners, words, near_rows, sizes
                    )
                    keys, counts, used = _all_tallied(keys, counts, used, far, crowd)
                    waiting = 0
                continue
            _try_partners(partners, here, words, (z, y, x), sizes, found)
            if is_far or not _search_rows(others, others_box, z, y, x, near_rows, sizes, found):
                if cells.size == 1:
                    cells = find_filled(others, others_box, CELL)
                    blocks = find_filled(others, others_box, BLOCK)
                searches += 1
                search_blocks(others, others_box, cells, blocks, z, y, x, sizes, found)
                _keep_partner(partners, here, (z, y, x), found)
                is_far = _is_beyond_rows(near_rows, sizes, found)
            keys, counts, used = _tallied(keys, counts, used, _key(found[0], found[1], found[2], code))
    crowd = crowd[:waiting]
    far = _partners_of(crowd, others, others_box, (cells, blocks), partners, words, near_rows, sizes)
    keys, counts, used = _all_tallied(keys, counts, used, far, crowd)
    return _all_counts(keys, counts, offsets, near_counts)


@kernel
def _tallied(keys, counts, used, key):
    """Count a key once more; returns the table, which may be a larger one, and how many slots are used."""
    slot = slot_of(keys, key)
    if keys[slot] == 0:
        keys[slot] = key + np.uint64(1)
        used += 1
    counts[slot] += 1
    if 2 * used > keys.size:
        keys, counts = grown(keys, counts)
    return keys, counts, used


@kernel
def _all_tallied(keys, counts, used, offsets, crowd):
    """Count the offsets of a crowd, with their codes; see `_tallied`."""
    for i in range(crowd.shape[0]):
        key = _key(offsets[i, 0], offsets[i, 1], offsets[i, 2], crowd[i, 3])
        keys, counts, used = _tallied(keys, counts, used, key)
    return keys, counts, used


@kernel
def _elements_from(surface, word):
    """Return how many elements a surface has from a word on, and room for one more word."""
    count = 64
    for i in range(word, surface.size):
        count += count_bits(surface[i])
    return count


@kernel
def _sweep_is_cheaper(crowd, box):
    """Whether going through the other surface's slices costs less than a search for each of a crowd."""
    _, _, _, slices, rows, _ = box
    width = crowd[:, 2].max() - crowd[:, 2].min() + 1
    swept = min(slices, rows) * (width * max(slices, rows) + crowd.shape[0])
    return swept < _PLACES_PER_SEARCH * crowd.shape[0]


@kernel
def _partners_of(crowd, others, box, parts, partners, words, near_rows, sizes):
    """Return the offsets to the nearest other element of each of a crowd, in the cheaper of two ways.

    Args:
        crowd: Places along z, y, x, the code, and the place among `partners`: n x 5.
        others: The other surface.
        box: Its box.
        parts: Its cells and blocks.
        partners: Of elements before, see `count_offsets`.
        words: How many words a row of `partners` has.
        near_rows: See `Order`.
        sizes: Voxel sizes.
    """
    if crowd.shape[0] and _sweep_is_cheaper(crowd, box):
        return sweep(crowd, others, box, sizes)
    offsets, found = np.empty((crowd.shape[0], 3), np.int64), np.zeros(4, np.int64)
    cells, blocks = parts
    is_far = True
    for i in range(crowd.shape[0]):
        z, y, x, here = crowd[i, 0], crowd[i, 1], crowd[i, 2], crowd[i, 4]
        _try_partners(partners, here, words, (z, y, x), sizes, found)
        if is_far or not _search_rows(others, box, z, y, x, near_rows, sizes, found):
            search_blocks(others, box, cells, blocks, z, y, x, sizes, found)
            _keep_partner(partners, here, (z, y, x), found)
            is_far = _is_beyond_rows(near_rows, sizes, found)
        offsets[i, 0], offsets[i, 1], offsets[i, 2] = found[0], found[1], found[2]
    return offsets


@kernel
def _try_partners(partners, here, words, element, sizes, found):
    """Begin with the nearest partner of elements before: in the same word, in the one above, and the last."""
    found[3] = 0
    for place in (here, max(here - words, 0), partners.shape[0] - 1):
        partner = partners[place]
        if partner[0] != FAR:
            _compare(partner[0] - element[0], partner[1] - element[1], partner[2] - element[2], sizes, found)


@kernel
def _keep_partner(partners, here, element, found):
    """Remember where the partner of an element is, for those after it."""
    for place in (here, partners.shape[0] - 1):
        for axis in range(3):
            partners[place, axis] = element[axis] + found[axis]


@kernel
def _is_beyond_rows(near_rows, sizes, found):
    """Whether a partner is farther away than all near rows, so that they will not help the next element."""
    farthest = near_rows[near_rows.shape[0] - 1]
    return squared_length(found[0], found[1], found[2], sizes) > squared_length(
        farthest[0], farthest[1], 0, sizes
    )


@kernel
def _key(dz, dy, dx, code):
    key = np.uint64(abs(dz)) << np.uint64(40) | np.uint64(abs(dy)) << np.uint64(24)
    return key | np.uint64(abs(dx)) << np.uint64(8) | np.uint64(code)


@kernel
def _all_counts(keys, counts, offsets, near_counts):
    """Return keys and counts of the table, and of the near offsets; several may have the same key."""
    some_keys, some_counts = content(keys, counts)
    near = np.count_nonzero(near_counts)
    all_keys, all_counts = (
        np.empty(near + some_keys.size, np.uint64),
        np.empty(near + some_keys.size, np.int64),
    )
    index = 0
    for k in range(offsets.shape[0]):
        for code in range(CODES):
            if near_counts[k, code]:
                all_keys[index] = _key(offsets[k, 0], offsets[k, 1], offsets[k, 2], code)
                all_counts[index] = near_counts[k, code]
                index += 1
    all_keys[near:] = some_keys
    all_counts[near:] = some_counts
    return all_keys, all_counts


@kernel
def _match_near(mask, elements, i, box, others, others_box, z, y, word, offsets, near_counts):
    """Count the elements of one word whose partner is one of the near offsets; returns the others.

    The voxels of all eight corners are inside the mask's box, so that codes can be read; where they are not
    asked for, they do no harm.
    """
    rows, words = box[4], box[5]
    first_z, first_y, first_word, other_slices, other_rows, other_words = others_box
    place = word - first_word
    if place < -1 or place > other_words:
        return elements
    for k in range(offsets.shape[0]):
        row_z, row_y, dx = z + offsets[k, 0] - first_z, y + offsets[k, 1] - first_y, np.uint64(offsets[k, 2])
        if row_z < 0 or row_z >= other_slices or row_y < 0 or row_y >= other_rows:
            continue
        row = (row_z * other_rows + row_y) * other_words
        here = others[row + place] if 0 <= place < other_words else np.uint64(0)
        if dx == 0:
            hits = elements & here
        else:
            left = others[row + place - 1] if place > 0 else np.uint64(0)
            right = others[row + place + 1] if place + 1 < other_words else np.uint64(0)
            back = np.uint64(64) - dx
            hits = elements & (here >> dx | right << back | here << dx | left >> back)
        if hits:
            elements &= ~hits
            while hits:
                bit = np.uint64(lowest_bit(hits))
                hits &= hits - np.uint64(1)
                near_counts[k, corner_code(mask, i, rows * words, words, bit)] += 1
            if elements == 0:
                break
    return elements


@kernel
def _compare(dz, dy, dx, sizes, found):
    """Keep an offset if it is shorter than the one found before."""
    if found[3] == 0 or squared_length(dz, dy, dx, sizes) < squared_length(
        found[0], found[1], found[2], sizes
    ):
        found[0], found[1], found[2], found[3] = dz, dy, dx, 1


@kernel
def _search_rows(others, box, z, y, x, near_rows, sizes, found):
    """Look for a nearer element than `found` in the near rows; returns whether none can be nearer then."""
    first_z, first_y, first_word, slices, rows, words = box
    place = x - 64 * first_word
    best, limit = np.inf, np.int64(FAR)
    if found[3]:
        best = squared_length(found[0], found[1], found[2], sizes)
        limit = np.int64(np.sqrt(best) / sizes[0]) + 1
    for k in range(near_rows.shape[0]):
        dz, dy = near_rows[k, 0], near_rows[k, 1]
        size = squared_length(dz, dy, 0, sizes)
        if size >= best:
            return True
        row_z, row_y = z + dz - first_z, y + dy - first_y
        if row_z < 0 or row_z >= slices or row_y < 0 or row_y >= rows:
            continue
        step = _nearest_in_row(others, (row_z * rows + row_y) * words, words, place, limit)
        if abs(step) != FAR:
            square = squared_length(dz, dy, step, sizes)
            if square < best:
                best = square
                limit = np.int64(np.sqrt(best) / sizes[0]) + 1
                found[0], found[1], found[2], found[3] = dz, dy, step, 1
    return False


@kernel
def _nearest_in_row(others, row, words, place, limit):
    """Return the step along x to the nearest set bit in a row; `FAR` if none is within `limit` or so."""
    word, bit = place >> 6, np.uint64(place & 63)
    full = ~np.uint64(0)
    right = left = FAR
    if 0 <= word < words:
        bits = others[row + word]
        after, before = bits & (full << bit), bits & (full >> (np.uint64(63) - bit))
        if after:
            right = lowest_bit(after) - (place & 63)
        if before:
            left = (place & 63) - highest_bit(before)
    limit = min(limit, left)
    next_word = max(word + 1, 0)
    while right == FAR and next_word < words and 64 * next_word - place <= limit:
        if others[row + next_word]:
            right = 64 * next_word + lowest_bit(others[row + next_word]) - place
        next_word += 1
    limit = min(limit, right)
    next_word = min(word - 1, words - 1)
    while left == FAR and next_word >= 0 and place - 64 * next_word - 63 <= limit:
        if others[row + next_word]:
            left = place - 64 * next_word - highest_bit(others[row + next_word])
        next_word -= 1
    return right if right <= left else -left
