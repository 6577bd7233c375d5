"""Signed volume error: what the prediction has too much, in ml; negative where it has too little."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import Metric

if TYPE_CHECKING:
    from evaluator.needs import Volumes


def volume_error(volumes: Volumes) -> float:
    """Return the volume of the prediction less that of the reference."""
    return volumes.prediction_ml - volumes.reference_ml


METRIC = Metric(
    facts=MetricFacts(
        key="volume_error", title="Volume error", unit="ml", direction="lower", failed=math.nan, ranks=False
    ),
    needs=("volumes",),
    compute=volume_error,
    always=True,
)
