"""Components, dilations and touches from runs are those that SciPy finds in volumes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage

from evaluator import components
from evaluator.pair import runs_of

STEPS = {6: 1, 18: 2, 26: 3}
WANTED = np.arange(256) == 1


def noise(seed: int, density: float = 0.3) -> NDArray[np.bool_]:
    random = np.random.default_rng(seed)
    return random.random(tuple(random.integers(1, 14, 3))) < density


def runs(volume: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return runs_of(np.asfortranarray(volume.astype(np.uint8)), WANTED, 1).of(1)


def painted(
    some: NDArray[np.uint64], numbers: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.int64]:
    volume = np.zeros(shape, np.int64)
    for run, number in zip(some.tolist(), numbers.tolist(), strict=True):
        volume[(run >> 16) & 0xFFFF : (run & 0xFFFF) + 1, (run >> 32) & 0xFFFF, run >> 48] = number + 1
    return volume


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.sampled_from([6, 18, 26]), st.sampled_from([0.1, 0.3, 0.6]))
def test_components_are_scipys_numbered_along_x_first(seed: int, connectivity: int, density: float) -> None:
    volume = noise(seed, density)
    some = runs(volume)
    numbers, count = components.find_components(some, STEPS[connectivity])
    structure = ndimage.generate_binary_structure(3, STEPS[connectivity])
    expected, expected_count = ndimage.label(volume.T, structure)
    assert count == expected_count
    assert np.array_equal(painted(some, numbers, volume.shape), expected.T)
    sizes = components.voxels_by_component(some, numbers, count)
    assert np.array_equal(sizes, np.bincount(expected.ravel(), minlength=count + 1)[1:])


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3))
def test_a_dilation_is_scipys_by_18_neighbours(seed: int, times: int) -> None:
    volume = noise(seed, 0.02)
    volume[0, 0, 0] = True
    dilated = components.dilate(runs(volume), times, np.array(volume.shape))
    structure = ndimage.generate_binary_structure(3, 2)
    expected = ndimage.binary_dilation(volume, structure, iterations=times)
    found = painted(dilated, np.zeros(len(dilated), np.int64), volume.shape)
    assert np.array_equal(found > 0, expected)


@pytest.mark.parametrize("reach", [1, 2, 3])
def test_what_touches_a_dilated_lesion(reach: int) -> None:
    structure = ndimage.generate_binary_structure(3, 2)
    for seed in range(10):
        random = np.random.default_rng(seed)
        one, other = random.random((2, 15, 12, 9)) < 0.01
        sides = [(runs(volume), *components.find_components(runs(volume), 3)) for volume in (one, other)]
        (first, first_numbers, first_count), (second, second_numbers, _) = sides
        keys, _ = components.touching_pairs(first, first_numbers, second, second_numbers, reach)
        found = {(int(key >> np.uint64(32)), int(key & np.uint64(0xFFFFFFFF))) for key in keys}
        lesions = painted(first, first_numbers, one.shape)
        others = painted(second, second_numbers, one.shape)
        expected = set()
        for lesion in range(first_count):
            dilated = ndimage.binary_dilation(lesions == lesion + 1, structure, iterations=reach)
            expected |= {(lesion, int(number) - 1) for number in np.unique(others[dilated]) if number}
        assert found == expected


def test_voxels_that_two_components_share_are_counted_by_pair() -> None:
    for seed in range(10):
        random = np.random.default_rng(seed)
        one, other = random.random((2, 12, 11, 10)) < 0.2
        sides = [(runs(volume), components.find_components(runs(volume), 3)[0]) for volume in (one, other)]
        keys, counts = components.shared_by_pair(*sides[0], *sides[1])
        first, second = (painted(*side, one.shape) for side in sides)
        both = (first > 0) & (second > 0)
        expected, expected_counts = np.unique(
            np.stack([first[both] - 1, second[both] - 1]), axis=1, return_counts=True
        )
        order = np.argsort(keys)
        assert np.array_equal(keys[order] >> np.uint64(32), expected[0])
        assert np.array_equal(keys[order] & np.uint64(0xFFFFFFFF), expected[1])
        assert np.array_equal(counts[order], expected_counts)
