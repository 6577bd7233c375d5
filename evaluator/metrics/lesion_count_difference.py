"""How far the numbers of lesions are apart, matched or not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def lesion_count_difference(lesions: Lesions) -> float:
    """Return how far the numbers of lesions are apart, matched or not."""
    return abs(len(lesions.prediction) - len(lesions.reference))


METRIC = Metric(
    facts=MetricFacts(
        key="lesion_count_difference",
        title="Lesion count difference",
        unit="",
        direction="lower",
        failed=math.inf,
        decimals=0,
    ),
    needs=("lesions",),
    compute=lesion_count_difference,
    empty=EmptyRule(both=0.0, reference=math.nan, prediction=math.nan),
    always=True,
)
