"""How many reference lesions have a match."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def lesion_tp(lesions: Lesions) -> float:
    """Return how many reference lesions have a match."""
    return len(lesions.found)


METRIC = Metric(
    facts=MetricFacts(
        key="lesion_tp", title="Lesions found", unit="", direction="higher", failed=0.0, decimals=0
    ),
    needs=("lesions",),
    compute=lesion_tp,
    empty=EmptyRule(both=0.0, reference=math.nan, prediction=math.nan),
    always=True,
)
