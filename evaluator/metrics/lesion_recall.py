"""The share of the reference lesions that have a match."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def lesion_recall(lesions: Lesions) -> float:
    """Return the number; NaN where there is no lesion to count."""
    whole = len(lesions.counted)
    return len(lesions.found) / whole if whole else math.nan


METRIC = Metric(
    facts=MetricFacts(
        key="lesion_recall",
        title="Lesion recall",
        direction="higher",
        failed=0.0,
        percent=True,
        aliases=("lesion_sensitivity",),
    ),
    needs=("lesions",),
    compute=lesion_recall,
    empty=EmptyRule(both=1.0, reference=0.0, prediction=0.0),
    always=True,
)
