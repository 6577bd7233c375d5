"""Absolute volume error in ml, as ISLES counts it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import Metric

if TYPE_CHECKING:
    from evaluator.needs import Volumes


def absolute_volume_error(volumes: Volumes) -> float:
    """Return how far the volumes are apart."""
    return abs(volumes.prediction_ml - volumes.reference_ml)


METRIC = Metric(
    facts=MetricFacts(
        key="absolute_volume_error",
        title="Absolute volume error",
        unit="ml",
        direction="lower",
        failed=math.inf,
    ),
    needs=("volumes",),
    compute=absolute_volume_error,
    always=True,
)
