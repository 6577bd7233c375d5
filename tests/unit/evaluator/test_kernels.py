"""Each kernel alone, against the plainest NumPy that says what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from evaluator.areas import CODES, corner_areas
from evaluator.bits import changes, count_bits, lowest_bit
from evaluator.compilation import kernel
from evaluator.masks import corner_extent, draw, find_corners, mask_box, mask_words
from evaluator.overlap import count_shared
from evaluator.runs import LABELS, LabelRuns, find_runs
from evaluator.surface import _widen

SHAPES = [(1, 1, 1), (2, 3, 5), (3, 2, 64), (2, 2, 65), (4, 3, 129), (1, 5, 200)]


def noise(shape: tuple[int, ...], seed: int, density: float = 0.2) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    return ((random.random(shape) < density) * random.integers(1, 4, shape)).astype(np.uint8)


def runs_of(volume: NDArray[np.uint8], pieces: int = 1) -> LabelRuns:
    return find_runs(np.ascontiguousarray(volume), np.ones(LABELS, np.bool_), map, pieces)


def unpacked(words: NDArray[np.uint64], slices: int, rows: int) -> NDArray[np.bool_]:
    return np.unpackbits(words.view(np.uint8), bitorder="little").reshape(slices, rows, -1).astype(bool)


@kernel
def _call_bits(voxels, first, before):  # type: ignore[no-untyped-def]
    word = changes(voxels, first, before)
    return word, lowest_bit(word) if word else -1, count_bits(word)


def test_changes_of_64_voxels_in_one_word() -> None:
    voxels = noise((200,), 1, 0.5)
    for first in range(0, 137, 7):
        word, lowest, count = _call_bits(voxels, first, np.uint8(7))
        left = np.r_[np.uint8(7), voxels[first : first + 63]]
        expected = voxels[first : first + 64] != left
        assert word == sum(1 << int(i) for i in np.flatnonzero(expected))
        assert (lowest, count) == (np.argmax(expected), expected.sum())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pieces", [1, 2, 5])
def test_runs_hold_the_whole_volume(shape: tuple[int, int, int], pieces: int) -> None:
    volume = np.repeat(noise(shape, 2, 0.5), 2, axis=2)
    runs = runs_of(volume, pieces)
    rebuilt = np.zeros_like(volume)
    for label in range(1, 4):
        packed = runs.of(label)
        assert np.array_equal(packed, np.sort(packed))
        assert runs.voxels[label] == (volume == label).sum()
        for run in packed.tolist():
            rebuilt[run >> 48, (run >> 32) & 0xFFFF, (run >> 16) & 0xFFFF : (run & 0xFFFF) + 1] = label
    assert np.array_equal(rebuilt, volume)


def test_only_wanted_labels_have_runs() -> None:
    volume = noise((3, 4, 70), 3)
    wanted = np.zeros(LABELS, np.bool_)
    wanted[2] = True
    runs = find_runs(volume, wanted, map, 1)
    assert runs.voxels.tolist() == [0, 0, (volume == 2).sum()] + [0] * 253
    assert len(runs.packed) == len(runs.of(2)) > 0


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.05, 0.5, 0.95])
def test_voxels_in_the_runs_of_both(shape: tuple[int, int, int], density: float) -> None:
    for seed in range(5):
        reference, prediction = noise(shape, seed, density), noise(shape, seed + 100, density)
        for label in range(1, 4):
            shared = count_shared(runs_of(reference).of(label), runs_of(prediction).of(label))
            assert shared == ((reference == label) & (prediction == label)).sum()


def mask_of(volume: NDArray[np.uint8]) -> tuple[tuple, NDArray[np.uint64], NDArray[np.uint64]]:
    runs = runs_of(volume).of(1)
    box = mask_box(corner_extent(runs))
    mask = np.full(mask_words(box), 2**64 - 1, np.uint64)
    surface = np.full(mask_words(box), 2**64 - 1, np.uint64)
    draw(runs, box, mask)
    find_corners(mask, box, surface)
    return box, mask, surface


def corners_by_hand(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    padded = np.pad(inside, 1).astype(int)
    z, y, x = (size - 1 for size in padded.shape)
    around = sum(padded[k : k + z, j : j + y, i : i + x] for k in (0, 1) for j in (0, 1) for i in (0, 1))
    return (around > 0) & (around < 8)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("density", [0.05, 0.9])
def test_masks_and_corners(shape: tuple[int, int, int], density: float) -> None:
    volume = np.minimum(noise(shape, 4, density), 1)
    volume[-1, -1, -1] = 1
    (first_z, first_y, first_word, slices, rows, _), mask, surface = mask_of(volume)
    for words, expected in ((mask, volume == 1), (surface, corners_by_hand(volume == 1))):
        found = np.zeros((shape[0] + 2, shape[1] + 2, 64 * 6), bool)
        for z, y, x in np.argwhere(unpacked(words, slices, rows)):
            found[z + first_z, y + first_y, x + 64 * first_word] = True
        assert found.sum() == expected.sum()
        assert np.array_equal(found[tuple(np.s_[:size] for size in expected.shape)], expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_widened_rows(shape: tuple[int, int, int]) -> None:
    volume = np.minimum(noise(shape, 5, 0.1), 1)
    volume[0, 0, 0] = 1
    box, _, surface = mask_of(volume)
    corners = corners_by_hand(volume == 1)
    slab = (-2, -1, 0, shape[0] + 4, shape[1] + 3, (shape[2] >> 6) + 1)
    half_widths = np.array([0, 1, 3, 4])
    words = slab[3] * slab[4] * slab[5]
    scratch = np.full(4 * words + 4 * (slab[4] * slab[5] + 2), 2**64 - 1, np.uint64)
    _widen(surface, box, slab, half_widths, scratch)
    for level, half_width in enumerate(half_widths):
        expected = np.zeros((slab[3], slab[4], 64 * slab[5]), bool)
        for z, y, x in np.argwhere(corners):
            expected[z + 2, y + 1, max(0, x - half_width) : x + half_width + 1] = True
        found = unpacked(scratch[level * words : (level + 1) * words], slab[3], slab[4])
        assert np.array_equal(found, expected)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 1.3, 2.9)])
def test_the_area_of_every_corner_code_is_surface_distances(spacing: tuple[float, float, float]) -> None:
    from surface_distance import lookup_tables

    weights = lookup_tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL  # axes x, y, z
    expected = lookup_tables.create_table_neighbour_code_to_surface_area(spacing)
    areas = corner_areas(spacing)
    for code in range(CODES):
        theirs = sum(
            int(weights[x, y, z])
            for z in (0, 1)
            for y in (0, 1)
            for x in (0, 1)
            if code >> (4 * z + 2 * y + x) & 1
        )
        assert areas[code] == pytest.approx(expected[theirs], rel=1e-15)
