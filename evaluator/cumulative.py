"""Metrics that are fed batch by batch in a training loop, with the method names of MONAI and of TorchMetrics.

    metric = CumulativeMetric({1: "liver"}, metrics=("dsc", "nsd"), spacing_mm=(1, 1, 3))
    metric(y_pred, y)                   # MONAI's CumulativeIterationMetric: call, aggregate, reset
    metric.update(preds, target)        # TorchMetrics' Metric: update, compute, reset
    metric.aggregate()                  # {"dsc": {"liver": 0.93}, "nsd": {"liver": 0.97}}

Neither library is imported. A loop that calls it by these names takes it; what asks for an instance of their
classes, as `torchmetrics.MetricCollection` does, refuses it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.case import Labels, score_case, scoring_of
from evaluator.errors import RequestError
from evaluator.scores import CaseScore


class CumulativeMetric:
    """Scores batches, keeps every case's scores, and averages them at the end.

    Args:
        labels: A table, or a dict such as `{1: "liver"}`.
        metrics: Keys of metrics that are a number per label.
        spacing_mm: Voxel size along the three spatial axes.
        profile: The scoring rules.
    """

    def __init__(
        self,
        labels: Labels,
        *,
        metrics: Sequence[str] = ("dsc",),
        spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
        profile: str = "exact",
    ) -> None:
        self._scoring = scoring_of(None, labels, profile, metrics)
        self._spacing_mm = tuple(spacing_mm)
        self.scores: list[CaseScore] = []

    def __call__(self, y_pred: Any, y: Any) -> dict[str, NDArray[np.float64]]:
        """Score a batch, and return each metric as float64 (batch, labels); NaN where a label does not count.

        Args:
            y_pred: Array or tensor (batch, channels, x, y, z): label numbers in one channel, or a channel per
                class from 0, of which the largest wins.
            y: The reference, in either form.

        Raises:
            RequestError: An array has other than 5 axes, or the batches differ in size.
        """
        predicted, truth = _label_maps(y_pred, "y_pred"), _label_maps(y, "y")
        if len(predicted) != len(truth):
            raise RequestError(f"{len(predicted)} predictions for {len(truth)} references", where="y_pred")
        scores = [
            score_case(reference, found, self._scoring, spacing_mm=self._spacing_mm)
            for found, reference in zip(predicted, truth, strict=True)
        ]
        self.scores += scores
        return {
            key: np.array([[label.scores[key] for label in score] for score in scores])
            for key in self._scoring.metrics
        }

    def update(self, preds: Any, target: Any) -> None:
        """Score a batch, as TorchMetrics calls it."""
        self(preds, target)

    def aggregate(self) -> dict[str, dict[str, float]]:
        """Return each metric's mean over all cases by label; NaN where no case has the label."""
        return {
            key: {
                label.name: _mean(
                    [row.scores[key] for score in self.scores for row in score if row.label == label.value]
                )
                for label in self._scoring.labels
            }
            for key in self._scoring.metrics
        }

    compute = aggregate

    def reset(self) -> None:
        """Forget all cases."""
        self.scores.clear()


def _label_maps(given: Any, where: str) -> NDArray[Any]:
    """Return label numbers (batch, x, y, z)."""
    array = given.detach().cpu().numpy() if hasattr(given, "detach") else np.asarray(given)
    if array.ndim != 5:
        raise RequestError(f"it has {array.ndim} axes, not 5: batch, channel, x, y, z", where=where)
    maps: NDArray[Any] = array[:, 0] if array.shape[1] == 1 else array.argmax(axis=1)
    return maps


def _mean(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
