"""F1 of lesions, or recognition quality: 2 TP / (2 TP + FP + FN)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def lesion_f1(lesions: Lesions) -> float:
    """Return the number; NaN where there is no lesion to count."""
    found = len(lesions.found)
    whole = 2 * found + len(lesions.false) + lesions.not_found
    return 2 * found / whole if whole else math.nan


METRIC = Metric(
    facts=MetricFacts(
        key="lesion_f1", title="Lesion F1", direction="higher", failed=0.0, percent=True, aliases=("rq",)
    ),
    needs=("lesions",),
    compute=lesion_f1,
    empty=EmptyRule(both=1.0, reference=0.0, prediction=0.0),
    always=True,
)
