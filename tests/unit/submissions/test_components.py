from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from segkit.components import beside_largest_parts, without_small_parts


def test_parts_of_the_smallest_size_stay_and_smaller_ones_go():
    mask = np.zeros((4, 8, 8), dtype=bool)
    mask[0, 0, :4] = True
    mask[3, 7, :3] = True
    kept = without_small_parts(mask, 4)
    assert kept[0, 0, :4].all()
    assert kept.sum() == 4


def test_an_empty_mask_has_no_parts():
    assert not without_small_parts(np.zeros((1, 1, 1), dtype=bool), 0).any()


def test_only_the_largest_part_of_each_label_is_left():
    labels = np.zeros((6, 10, 10), dtype=np.uint8)
    labels[:4, :3, :3] = 1
    labels[5, 9, 9] = 1
    labels[5, 0:2, 0:2] = 3
    labels[0, 9, 5:8] = 3
    beside = beside_largest_parts(labels)
    assert set(zip(*map(tuple, np.nonzero(beside)), strict=True)) == {
        (5, 9, 9),
        (0, 9, 5),
        (0, 9, 6),
        (0, 9, 7),
    }


def test_parts_that_touch_at_a_corner_are_one():
    labels = np.zeros((2, 2, 2), dtype=np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 2
    assert not beside_largest_parts(labels).any()


def test_a_label_inside_the_box_of_another_is_not_counted_with_it():
    labels = np.ones((3, 3, 3), dtype=np.uint8)
    labels[1, 1, 1] = 2
    assert not beside_largest_parts(labels).any()
