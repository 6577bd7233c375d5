"""Sensitivity or recall: the share of the reference that the prediction found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import SHARE, Metric

if TYPE_CHECKING:
    from evaluator.needs import Counts


def sensitivity(counts: Counts) -> float:
    """Return |A and B| / |A|."""
    return counts.overlap_voxels / counts.scored_reference_voxels


METRIC = Metric(
    facts=MetricFacts(
        key="sensitivity",
        title="Sensitivity",
        direction="higher",
        failed=0.0,
        percent=True,
        aliases=("recall",),
    ),
    needs=("counts",),
    compute=sensitivity,
    empty=SHARE,
)
