"""Metrics in a training loop, by the names of MONAI and TorchMetrics."""

from __future__ import annotations

import math

import numpy as np
import pytest

from evaluator import RequestError, score_case
from evaluator.cumulative import CumulativeMetric

LABELS = {1: "liver", 2: "spleen"}
SPACING = (1.0, 1.5, 3.0)


class Tensor:
    """What the wrapper asks of a torch tensor."""

    def __init__(self, array):
        self._array = array

    def detach(self):
        return self

    cpu = detach

    def numpy(self):
        return self._array


def batch(seed: int, cases: int = 2) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 3, (cases, 1, 6, 5, 4))


def one_hot(maps: np.ndarray) -> np.ndarray:
    return (maps == np.arange(3)[None, :, None, None, None]).astype(np.float32)


@pytest.fixture
def metric() -> CumulativeMetric:
    return CumulativeMetric(LABELS, metrics=("dsc", "nsd"), spacing_mm=SPACING)


def test_a_batch_scores_as_its_cases_do(metric):
    predicted, truth = batch(1), batch(2)
    found = metric(predicted, truth)
    for number in range(2):
        expected = score_case(
            truth[number, 0], predicted[number, 0], labels=LABELS, metrics=("dsc", "nsd"), spacing_mm=SPACING
        )
        for key in ("dsc", "nsd"):
            assert found[key][number].tolist() == [label.scores[key] for label in expected]


def test_channels_and_label_numbers_tensors_and_arrays_are_the_same(metric):
    predicted, truth = batch(1), batch(2)
    expected = metric(predicted, truth)["dsc"]
    for given in (one_hot(predicted), Tensor(predicted), Tensor(one_hot(predicted))):
        assert np.array_equal(metric(given, one_hot(truth))["dsc"], expected)


def test_both_vocabularies_give_the_mean_over_all_batches(metric):
    values = np.concatenate([metric(batch(n), batch(n + 10))["dsc"] for n in range(3)])
    mean = metric.aggregate()["dsc"]
    assert list(mean.values()) == pytest.approx(values.mean(axis=0).tolist())
    metric.reset()
    for n in range(3):
        metric.update(batch(n), batch(n + 10))
    assert metric.compute()["dsc"] == mean


def test_nothing_is_no_mean(metric):
    assert math.isnan(metric.aggregate()["dsc"]["liver"])


@pytest.mark.parametrize("shape", [(2, 6, 5, 4), (6, 5, 4)])
def test_an_array_of_other_axes_is_told_of(metric, shape):
    with pytest.raises(RequestError, match="not 5"):
        metric(np.zeros(shape, int), batch(1))


def test_batches_must_have_one_size(metric):
    with pytest.raises(RequestError, match="3 predictions for 2"):
        metric(batch(1, 3), batch(1))
