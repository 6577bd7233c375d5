"""Precision or positive predictive value: the share of the prediction that is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import SHARE, Metric

if TYPE_CHECKING:
    from evaluator.needs import Counts


def precision(counts: Counts) -> float:
    """Return |A and B| / |B|."""
    return counts.overlap_voxels / counts.scored_prediction_voxels


METRIC = Metric(
    facts=MetricFacts(
        key="precision", title="Precision", direction="higher", failed=0.0, percent=True, aliases=("ppv",)
    ),
    needs=("counts",),
    compute=precision,
    empty=SHARE,
)
