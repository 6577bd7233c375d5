"""Absolute relative volume error: how far the volumes are apart, over the volume of the reference."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.needs import Counts


def absolute_relative_volume_error(counts: Counts) -> float:
    """Return ||B| - |A|| / |A|."""
    reference = counts.scored_reference_voxels
    return abs(counts.scored_prediction_voxels - reference) / reference


METRIC = Metric(
    facts=MetricFacts(
        key="absolute_relative_volume_error",
        title="Absolute relative volume error",
        direction="lower",
        failed=1.0,
        aliases=("avdr",),
    ),
    needs=("counts",),
    compute=absolute_relative_volume_error,
    empty=EmptyRule(both=0.0, reference=math.inf, prediction=1.0),
)
