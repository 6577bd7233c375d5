"""How many reference lesions have no match."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def lesion_fn(lesions: Lesions) -> float:
    """Return how many reference lesions have no match."""
    return lesions.not_found


METRIC = Metric(
    facts=MetricFacts(
        key="lesion_fn", title="Missed lesions", unit="", direction="lower", failed=math.inf, decimals=0
    ),
    needs=("lesions",),
    compute=lesion_fn,
    empty=EmptyRule(both=0.0, reference=math.nan, prediction=math.nan),
    always=True,
)
