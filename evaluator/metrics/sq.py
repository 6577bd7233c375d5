"""Segmentation quality: the mean IoU of the matched lesions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def sq(lesions: Lesions) -> float:
    """Return the mean; 0 where nothing is matched, NaN where there is no lesion."""
    if not lesions.found:
        return 0.0 if lesions.missed or lesions.false else math.nan
    return sum(lesions.iou(number) for number in lesions.found) / len(lesions.found)


METRIC = Metric(
    facts=MetricFacts(key="sq", title="SQ", direction="higher", failed=0.0, percent=True),
    needs=("lesions",),
    compute=sq,
    empty=EmptyRule(both=1.0, reference=0.0, prediction=0.0),
    always=True,
)
