"""Every element finds its nearest partner, near, far and very far, with any voxel size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from evaluator.distances import GridSpacing, measure_distances, surface_elements
from evaluator.masks import SURFELS, surface_mask
from evaluator.pair import runs_of
from evaluator.sweep import sweep

WANTED = np.arange(256) == 1


def runs(volume: NDArray[np.bool_]) -> NDArray[np.uint64]:
    return runs_of(np.asfortranarray(volume.astype(np.uint8)), WANTED, 1).of(1)


def border(volume: NDArray[np.bool_], steps: int = 1) -> NDArray[np.bool_]:
    return volume & ~ndimage.binary_erosion(volume, ndimage.generate_binary_structure(3, steps))


def assert_nearest(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: tuple[float, ...]) -> None:
    x, y, z = spacing
    sizes = GridSpacing(*3 * [(x, y, z)])
    for kind, steps in (("voxels", 1), ("voxels18", 2)):
        found = measure_distances(runs(one), runs(other), sizes, kind).from_reference  # type: ignore[arg-type]
        places, others = (np.argwhere(border(side, steps)) * np.array(spacing) for side in (one, other))
        expected = np.sort(cKDTree(others).query(places)[0])
        assert found.elements == len(expected)
        assert np.allclose(np.repeat(found.distances_mm, found.counts), expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.sampled_from([0.3, 0.8, 1.0, 2.5, 7.0])] * 3),
    st.sampled_from([0.0005, 0.01, 0.3]),
)
def test_noise(seed: int, spacing: tuple[float, ...], density: float) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 300)), *(int(size) for size in random.integers(1, 50, 2)))
    one, other = random.random((2, *shape)) < density
    one[0, 0, 0] = other[-1, -1, -1] = True
    assert_nearest(one, other, spacing)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("steps", [1, 5, 30, 70])
def test_a_box_moved_along_an_axis(axis: int, steps: int) -> None:
    one = np.zeros((100, 100, 100), np.bool_)
    one[5:25, 3:20, 8:22] = True
    assert_nearest(one, np.roll(one, steps, axis), (0.7, 0.7, 1.5))


def test_single_voxels_at_opposite_corners() -> None:
    one, other = np.zeros((2, 200, 90, 70), np.bool_)
    one[0, 0, 0] = other[-1, -1, -1] = True
    assert_nearest(one, other, (1.0, 1.0, 1.0))
    assert_nearest(other, one, (0.2, 3.0, 1.0))


@settings(max_examples=40)
@given(
    st.integers(0, 2**32 - 1),
    st.tuples(*[st.sampled_from([0.3, 0.8, 1.0, 2.5, 7.0])] * 3),
    st.sampled_from([0.0005, 0.01, 0.3]),
)
def test_sweeping_slices_finds_the_same_distances_bit_by_bit(
    seed: int, spacing: tuple[float, ...], density: float
) -> None:
    random = np.random.default_rng(seed)
    shape = (int(random.integers(1, 150)), *(int(size) for size in random.integers(1, 30, 2)))
    other = random.random(shape) < density
    other[0, 0, 0] = True
    _, surface, box = surface_mask(runs(other), SURFELS)
    # Anywhere in the volume, and some way outside of what the other surface spans.
    elements = np.stack([random.integers(-5, size + 40, 500) for size in shape[::-1]], axis=1)
    sizes = np.array(spacing)
    found = sweep(elements, surface, box, sizes) * sizes[::-1]
    corners = surface_elements(runs(other)).places[:, ::-1]
    for element, (z, y, x) in zip(elements, found, strict=True):
        steps = np.abs(corners - element) * sizes[::-1]
        squares = (steps[:, 2] ** 2 + steps[:, 1] ** 2) + steps[:, 0] ** 2
        assert (x * x + y * y) + z * z == squares.min()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("spacing", [(0.8, 0.8, 2.5), (1.0, 1.0, 1.0)])
def test_lines_full_of_far_elements_get_the_same_distances_bit_by_bit(
    axis: int, spacing: tuple[float, ...]
) -> None:
    random = np.random.default_rng(axis)
    other = random.random((25, 25, 25)) < 0.002
    other[0, 0, 0] = True
    other = np.moveaxis(other[:, :20, :7], 2, axis)
    _, surface, box = surface_mask(runs(other), SURFELS)
    # Every other place of lines that reach out of the other surface's box on both sides.
    grid = np.indices((30, 40, 40)).reshape(3, -1).T - 6
    elements = np.ascontiguousarray(grid[(grid.sum(axis=1) % 2 == 0) & (grid[:, 2] % 13 == 0)])
    sizes = np.array(spacing)
    found = sweep(elements, surface, box, sizes) * sizes[::-1]
    corners = surface_elements(runs(other)).places[:, ::-1]
    steps = np.abs(corners[None] - elements[:, None]) * sizes[::-1]
    squares = (steps[..., 2] ** 2 + steps[..., 1] ** 2) + steps[..., 0] ** 2
    assert np.array_equal((found[:, 2] ** 2 + found[:, 1] ** 2) + found[:, 0] ** 2, squares.min(axis=1))


def test_a_crowd_far_away_is_measured_like_a_few() -> None:
    random = np.random.default_rng(3)
    one, other = np.zeros((2, 150, 70, 60), np.bool_)
    one[random.random(one.shape) < 0.004] = True
    other[20:35, 10:30, 5:40] = True
    assert_nearest(one, other, (0.8, 0.8, 1.0))
    assert_nearest(other, one, (0.8, 0.8, 1.0))
