"""False negative volume: the ml of the reference components without any voxel of the prediction (autoPET)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def fn_volume(lesions: Lesions) -> float:
    """Return the volume of the whole components that nothing of the other side touches."""
    touched = {pair[0] for pair in lesions.shared}
    voxels = lesions.reference.voxels
    alone = sum(int(voxels[number]) for number in range(len(voxels)) if number not in touched)
    return alone * lesions.voxel_mm3 / 1000


METRIC = Metric(
    facts=MetricFacts(
        key="fn_volume", title="False negative volume", unit="ml", direction="lower", failed=math.inf
    ),
    needs=("lesions",),
    compute=fn_volume,
    empty=EmptyRule(both=0.0, reference=math.nan, prediction=math.nan),
    always=True,
)
