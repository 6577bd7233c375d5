"""A mirrored or renamed prediction is known by the Dice that undoing it gives; a merely bad one is not."""

import numpy as np
import pytest

from harness.scoring.mixups import find_mixup


@pytest.fixture
def reference():
    labels = np.zeros((24, 20, 16), np.uint8)
    labels[3:9, 4:12, 2:9] = 1
    labels[14:20, 6:10, 8:12] = 2
    labels[14:20, 14:18, 3:6] = 6
    return labels


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_mirrored_prediction_is_found_with_its_axis(reference, axis):
    found = find_mixup(reference, np.flip(reference, axis), (1, 2, 6))
    assert (found.kind, found.axis, found.after) == ("mirrored", axis, 1.0)
    assert found.before < 0.5


def test_renamed_labels_are_found_with_their_names(reference):
    table = np.arange(256, dtype=np.uint8)
    table[[1, 2, 6]] = [2, 6, 1]
    found = find_mixup(reference, table[reference], (1, 2, 6))
    assert (found.kind, dict(found.names)) == ("renamed", {2: 1, 6: 2, 1: 6})
    assert (found.before, found.after) == (0.0, 1.0)


def test_a_good_and_a_bad_prediction_are_no_mixup(reference):
    assert find_mixup(reference, reference, (1, 2, 6)) is None
    noise = np.random.default_rng(0).choice(np.array([0, 1, 2, 6], np.uint8), reference.shape)
    assert find_mixup(reference, noise, (1, 2, 6)) is None
    assert find_mixup(reference, np.zeros_like(reference), (1, 2, 6)) is None


def test_an_empty_reference_tells_nothing(reference):
    assert find_mixup(np.zeros_like(reference), reference, (1, 2, 6)) is None


def test_labels_that_are_not_scored_do_not_count(reference):
    partly = reference.copy()
    partly[partly == 6] = 9
    assert find_mixup(reference, partly, (1, 2)) is None


def test_swapped_kidneys_among_right_labels_are_found(reference):
    swapped = reference.copy()
    swapped[reference == 2], swapped[reference == 6] = 6, 2
    found = find_mixup(reference, swapped, (1, 2, 6))
    assert dict(found.names) == {2: 6, 6: 2}
