"""How many predicted lesions belong to no reference lesion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def lesion_fp(lesions: Lesions) -> float:
    """Return how many predicted lesions belong to no reference lesion."""
    return len(lesions.false)


METRIC = Metric(
    facts=MetricFacts(
        key="lesion_fp", title="False lesions", unit="", direction="lower", failed=math.inf, decimals=0
    ),
    needs=("lesions",),
    compute=lesion_fp,
    empty=EmptyRule(both=0.0, reference=math.nan, prediction=math.nan),
    always=True,
)
