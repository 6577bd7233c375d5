"""Every element finds its nearest partner, near, far and very far, with any voxel size."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from evaluator.distances import GridSpacing, measure_distances
from evaluator.pair import runs_of

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


@settings(max_examples=60, deadline=None)
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
