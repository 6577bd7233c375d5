# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segkit.resample import grid_shape, linear_taps, resample_image

SHAPES = [
    ((9, 17, 13), (20, 40, 31)),
    ((20, 40, 31), (9, 17, 13)),
    ((5, 30, 8), (15, 11, 8)),
    ((1, 6, 5), (7, 1, 12)),
    ((4, 4, 4), (4, 4, 4)),
    ((3, 2, 2), (1, 1, 1)),
]


def by_torch(array: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    tensor = torch.from_numpy(array.astype(np.float64)).reshape(1, -1, *array.shape[-3:])
    resized = torch.nn.functional.interpolate(tensor, size=shape, mode="trilinear", align_corners=False)
    return resized[0].numpy().reshape(*array.shape[:-3], *shape)


@pytest.mark.parametrize(("shape_in", "shape_out"), SHAPES)
def test_an_image_is_resampled_trilinearly_with_half_pixel_centres(shape_in, shape_out):
    array = np.random.default_rng(0).normal(size=shape_in).astype(np.float32)
    assert resample_image(array, shape_out) == pytest.approx(by_torch(array, shape_out), abs=1e-5)


def test_slices_are_prepared_before_they_are_resampled():
    array = np.array([[[-1000, 1000]]], dtype=np.int16)
    clipped = resample_image(array, (1, 1, 1), lambda plane: np.clip(plane, 0, 10).astype(np.float32))
    assert clipped.item() == pytest.approx(5.0)


def test_the_grid_is_rounded_as_in_nnunet_and_never_empty():
    assert grid_shape((100, 512, 512), (2.5, 0.8, 0.8), (3.0, 2.0, 2.0)) == (83, 205, 205)
    assert grid_shape((1, 1, 1), (0.1, 0.1, 0.1), (3.0, 2.0, 2.0)) == (1, 1, 1)


def test_the_weights_of_the_taps_reproduce_a_ramp():
    lower, upper, weight = linear_taps(10, 23)
    ramp = np.arange(10, dtype=float)
    expected = np.clip((np.arange(23) + 0.5) * 10 / 23 - 0.5, 0, 9)
    assert ramp[lower] * (1 - weight) + ramp[upper] * weight == pytest.approx(expected, abs=1e-6)
