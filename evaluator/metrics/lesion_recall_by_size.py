"""Recall of small, medium and large reference lesions, by the two volumes that the rules name."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions

SIZES = ("small", "medium", "large")


def recall_of_size(lesions: Lesions, *, size: int) -> float:
    """Return the share of the reference lesions of one size that have a match; NaN if there are none.

    A lesion of exactly a limit belongs to the larger ones.
    """
    limits = (0.0, *lesions.rules.size_limits_ml, math.inf)
    volumes = {
        number: int(lesions.reference.voxels[number]) * lesions.voxel_mm3 / 1000 for number in lesions.kept
    }
    chosen = [number for number, ml in volumes.items() if limits[size] <= ml < limits[size + 1]]
    return sum(number in lesions.matched for number in chosen) / len(chosen) if chosen else math.nan


METRICS = tuple(
    Metric(
        facts=MetricFacts(
            key=f"lesion_recall_{name}",
            title=f"Recall of {name} lesions",
            direction="higher",
            failed=0.0,
            percent=True,
        ),
        needs=("lesions",),
        compute=partial(recall_of_size, size=size),
        empty=EmptyRule(both=math.nan, reference=math.nan, prediction=0.0),
        always=True,
    )
    for size, name in enumerate(SIZES)
)
