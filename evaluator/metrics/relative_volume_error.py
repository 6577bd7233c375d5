"""Signed relative volume error: the volume error over the volume of the reference (RVD)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.needs import Counts


def relative_volume_error(counts: Counts) -> float:
    """Return (|B| - |A|) / |A|."""
    reference = counts.scored_reference_voxels
    return (counts.scored_prediction_voxels - reference) / reference


METRIC = Metric(
    facts=MetricFacts(
        key="relative_volume_error",
        title="Relative volume error",
        direction="lower",
        failed=-1.0,
        ranks=False,
        aliases=("rvd",),
    ),
    needs=("counts",),
    compute=relative_volume_error,
    empty=EmptyRule(both=0.0, reference=math.inf, prediction=-1.0),
)
