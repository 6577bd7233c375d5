"""The nearest element of a surface, however far away it is: a search through blocks of its mask.

Blocks are 16 x 16 rows and 64 voxels along x, cells in them 4 x 4 rows. What holds nothing costs nothing, for
a word has a bit for each of 64 blocks or cells along y. What cannot hold anything nearer than the best so far
is passed over: first blocks, then cells, then rows.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

import numpy as np

from evaluator.bits import highest_bit, lowest_bit
from evaluator.compilation import kernel
from evaluator.offsets import gap, squared_length

CELL, BLOCK = 4, 16
"""Rows of a cell and of a block of cells along z and y; along x both are a word."""
FAR = 1 << 30
"""More steps than any volume has."""


@kernel
def find_filled(others, box, rows_each):
    """Return which cells or blocks of the other surface hold anything: by z and x, a bit for each along y."""
    _, _, _, slices, rows, words = box
    filled = np.zeros((slices // rows_each + 1, words, rows // rows_each // 64 + 1), np.uint64)
    for z in range(slices):
        for y in range(rows):
            row = (z * rows + y) * words
            bit = np.uint64(1) << np.uint64(y // rows_each % 64)
            for word in range(words):
                if others[row + word]:
                    filled[z // rows_each, word, y // rows_each // 64] |= bit
    return filled


@kernel
def search_blocks(others, box, cells, blocks, z, y, x, sizes, found):
    """Look for the nearest element in all blocks that may hold a nearer one than `found`."""
    place = (z - box[0], y - box[1], x - 64 * box[2])
    best = squared_length(found[0], found[1], found[2], sizes) if found[3] else np.inf
    middle = min(max(place[0] // BLOCK, 0), blocks.shape[0] - 1)
    for step in range(blocks.shape[0]):
        if squared_length(BLOCK * (step - 1), 0, 0, sizes) >= best and step > 1:
            break
        for side in range(2 if step else 1):
            layer = middle + step if side else middle - step
            gap_z = gap(place[0], BLOCK * layer, BLOCK * layer + BLOCK - 1)
            if 0 <= layer < blocks.shape[0] and squared_length(gap_z, 0, 0, sizes) < best:
                best = _search_layer(others, box, cells, blocks, layer, place, sizes, found, best)


@kernel
def _search_layer(others, box, cells, blocks, layer, place, sizes, found, best):
    """Look at the blocks of one layer along z; returns the square of the best distance."""
    gap_z = gap(place[0], BLOCK * layer, BLOCK * layer + BLOCK - 1)
    for word in range(blocks.shape[1]):
        gap_x = gap(place[2], 64 * word, 64 * word + 63)
        if squared_length(gap_z, 0, gap_x, sizes) >= best:
            continue
        for part in range(blocks.shape[2]):
            held = blocks[layer, word, part]
            while held:
                block_y = 64 * part + lowest_bit(held)
                held &= held - np.uint64(1)
                gap_y = gap(place[1], BLOCK * block_y, BLOCK * block_y + BLOCK - 1)
                if squared_length(gap_z, gap_y, gap_x, sizes) < best:
                    best = _search_block(
                        others, box, cells, (layer, block_y, word), place, sizes, found, best
                    )
    return best


@kernel
def _search_block(others, box, cells, block, place, sizes, found, best):
    """Look at the cells of one block; returns the square of the best distance."""
    word, each = block[2], BLOCK // CELL
    gap_x = gap(place[2], 64 * word, 64 * word + 63)
    first = np.uint64(each * block[1] % 64)
    for cell_z in range(each * block[0], min(each * block[0] + each, cells.shape[0])):
        gap_z = gap(place[0], CELL * cell_z, CELL * cell_z + CELL - 1)
        held = (cells[cell_z, word, each * block[1] // 64] >> first) & np.uint64(2**each - 1)
        while held:
            cell_y = each * block[1] + lowest_bit(held)
            held &= held - np.uint64(1)
            gap_y = gap(place[1], CELL * cell_y, CELL * cell_y + CELL - 1)
            if squared_length(gap_z, gap_y, gap_x, sizes) < best:
                best = _search_cell(others, box, (cell_z, cell_y, word), place, sizes, found, best)
    return best


@kernel
def _search_cell(others, box, cell, place, sizes, found, best):
    """Look at the rows of one cell; returns the square of the best distance."""
    _, _, _, slices, rows, words = box
    gap_x = gap(place[2], 64 * cell[2], 64 * cell[2] + 63)
    bit = np.uint64(min(max(place[2] - 64 * cell[2], 0), 63))
    full = ~np.uint64(0)
    for row_z in range(CELL * cell[0], min(CELL * cell[0] + CELL, slices)):
        for row_y in range(CELL * cell[1], min(CELL * cell[1] + CELL, rows)):
            bits = others[(row_z * rows + row_y) * words + cell[2]]
            dz, dy = row_z - place[0], row_y - place[1]
            if bits == 0 or squared_length(dz, dy, gap_x, sizes) >= best:
                continue
            after, before = bits & (full << bit), bits & (full >> (np.uint64(63) - bit))
            right = 64 * cell[2] + lowest_bit(after) - place[2] if after else FAR
            left = place[2] - 64 * cell[2] - highest_bit(before) if before else FAR
            step = right if abs(right) <= abs(left) else -left
            square = squared_length(dz, dy, step, sizes)
            if square < best:
                best = square
                found[0], found[1], found[2], found[3] = dz, dy, step, 1
    return best
