"""The share of the matched and false lesions that are matched."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def lesion_precision(lesions: Lesions) -> float:
    """Return the number; NaN where there is no lesion to count."""
    found = len(lesions.found)
    whole = found + len(lesions.false)
    return found / whole if whole else math.nan


METRIC = Metric(
    facts=MetricFacts(
        key="lesion_precision", title="Lesion precision", direction="higher", failed=0.0, percent=True
    ),
    needs=("lesions",),
    compute=lesion_precision,
    empty=EmptyRule(both=1.0, reference=0.0, prediction=0.0),
    always=True,
)
