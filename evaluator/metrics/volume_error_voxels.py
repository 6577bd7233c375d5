"""Absolute volume error in voxels, as ATLAS counts it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import Metric

if TYPE_CHECKING:
    from evaluator.needs import Counts


def volume_error_voxels(counts: Counts) -> float:
    """Return how many more voxels one of the volumes has."""
    return abs(counts.scored_prediction_voxels - counts.scored_reference_voxels)


METRIC = Metric(
    facts=MetricFacts(
        key="volume_error_voxels",
        title="Volume error",
        unit="",
        direction="lower",
        failed=math.inf,
        aliases=("volume_difference_voxels",),
    ),
    needs=("counts",),
    compute=volume_error_voxels,
    always=True,
)
