"""Panoptic quality: the IoUs of the matched lesions over TP + (FP + FN) / 2 (Kirillov et al., CVPR 2019)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def pq(lesions: Lesions) -> float:
    """Return segmentation quality times recognition quality; NaN where there is no lesion."""
    whole = len(lesions.found) + (len(lesions.false) + lesions.not_found) / 2
    quality = sum(lesions.iou(number) for number in lesions.found)
    return quality / whole if whole else math.nan


METRIC = Metric(
    facts=MetricFacts(key="pq", title="PQ", direction="higher", failed=0.0, percent=True),
    needs=("lesions",),
    compute=pq,
    empty=EmptyRule(both=1.0, reference=0.0, prediction=0.0),
    always=True,
)
