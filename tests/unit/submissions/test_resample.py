# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segkit.resample import grid_shape, labels_from_logits, linear_taps, resample_image

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


@pytest.mark.parametrize(("shape_in", "shape_out"), SHAPES)
@pytest.mark.parametrize("background", [-1.0, 0.0, 2.0, 50.0])
def test_labels_are_the_argmax_of_the_resampled_logits(shape_in, shape_out, background):
    logits = np.random.default_rng(1).normal(size=(5, *shape_in)).astype(np.float32)
    logits[0] += background
    labels = np.full(shape_out, 99, dtype=np.uint8)

    labels_from_logits(logits, labels)

    dense = by_torch(logits, shape_out)
    expected = dense.argmax(axis=0)
    top_two = np.sort(dense, axis=0)[-2:]
    clear = top_two[1] - top_two[0] > 1e-5
    assert np.array_equal(labels[clear], expected[clear])
    assert clear.mean() > 0.99


def test_a_label_that_is_left_out_goes_to_the_runner_up():
    logits = np.zeros((4, 2, 3, 3), dtype=np.float32)
    logits[2], logits[3] = 1.0, 2.0
    labels = np.zeros((4, 6, 6), dtype=np.uint8)
    labels_from_logits(logits, labels, leave_out=[3])
    assert (labels == 2).all()


def test_labels_can_be_written_into_a_part_of_a_volume():
    logits = np.zeros((2, 2, 2, 2), dtype=np.float32)
    logits[1] = 1.0
    labels = np.zeros((6, 6, 6), dtype=np.uint8)
    labels_from_logits(logits, labels[1:4, 2:5, 0:6:2])
    assert labels.sum() == 27
    assert labels[1:4, 2:5, 0:6:2].all()
