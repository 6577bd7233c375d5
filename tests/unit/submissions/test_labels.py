# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import ndimage
from segkit.labels import enlarged, labels_from_logits, winners

from .test_resample import SHAPES, by_torch


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


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_smooth_logits_whose_cells_are_mostly_of_one_label_give_the_same(threads):
    noise = np.random.default_rng(2).normal(size=(6, 12, 20, 24)).astype(np.float32)
    logits = ndimage.gaussian_filter(noise, (0, 3, 3, 3)) * 10
    labels = np.zeros((31, 50, 61), dtype=np.uint8)

    labels_from_logits(logits, labels, threads=threads)

    dense = by_torch(logits, labels.shape)
    top_two = np.sort(dense, axis=0)[-2:]
    clear = top_two[1] - top_two[0] > 1e-5
    assert len(np.unique(labels)) > 3
    assert np.array_equal(labels[clear], dense.argmax(axis=0)[clear])


def test_a_label_that_wins_at_no_corner_can_win_between_them():
    logits = np.zeros((4, 1, 1, 2), dtype=np.float32)
    logits[:, 0, 0, 0] = [-9, 10, 0, 8]
    logits[:, 0, 0, 1] = [-9, 0, 10, 8]
    labels = np.zeros((1, 1, 10), dtype=np.uint8)
    labels_from_logits(logits, labels)
    assert 3 in labels


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


@pytest.mark.parametrize("threads", [1, 3])
def test_winners_are_the_argmax_where_the_logits_lie(threads):
    logits = np.random.default_rng(3).normal(size=(5, 7, 8, 9)).astype(np.float32)
    found = winners(logits, threads=threads)
    assert found.dtype == np.uint8
    assert np.array_equal(found, logits.argmax(axis=0))
    logits[2] = -np.inf
    assert np.array_equal(winners(logits, leave_out=[2]), logits.argmax(axis=0))


@pytest.mark.parametrize(("shape_in", "shape_out"), SHAPES)
@pytest.mark.parametrize("threads", [1, 3])
def test_labels_are_enlarged_by_the_nearest_voxel(shape_in, shape_out, threads):
    labels = np.random.default_rng(4).integers(0, 15, size=shape_in, dtype=np.uint8)
    out = np.full(shape_out, 99, dtype=np.uint8)
    enlarged(labels, out, threads=threads)
    index = np.ix_(
        *(
            [int(Fraction(2 * i + 1, 2) * have / wanted) for i in range(wanted)]
            for have, wanted in zip(shape_in, shape_out, strict=True)
        )
    )
    assert np.array_equal(out, labels[index])
