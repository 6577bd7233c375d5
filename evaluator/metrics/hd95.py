"""95th percentile of the surface distances, by area: the larger of the two directions'."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import DISTANCE, Metric

if TYPE_CHECKING:
    from evaluator.distances import SurfaceDistances


def hd95(distances: SurfaceDistances) -> float:
    """Return the larger 95th percentile in mm, as surface-distance's `compute_robust_hausdorff(..., 95)`.

    A percentile is the smallest distance at which the cumulated area reaches the share, not interpolated.
    """
    return max(distances.from_reference.percentile_mm(0.95), distances.from_prediction.percentile_mm(0.95))


METRIC = Metric(
    facts=MetricFacts(key="hd95", title="HD95", unit="mm", direction="lower", failed=math.inf),
    needs=("distances",),
    compute=hd95,
    empty=DISTANCE,
)
