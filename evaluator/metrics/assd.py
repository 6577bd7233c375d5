"""Average symmetric surface distance: the mean over all elements of both surfaces together, by area."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import DISTANCE, Metric

if TYPE_CHECKING:
    from evaluator.distances import SurfaceDistances


def assd(distances: SurfaceDistances) -> float:
    """Return the pooled mean in mm, so that the larger surface weighs more.

    The definition is that of Metrics Reloaded (Maier-Hein et al., Nature Methods 2024), by area instead of by
    boundary voxel. The mean of the two directions' means is MASD.
    """
    both = (distances.from_reference, distances.from_prediction)
    return sum(one.integral_mm3 for one in both) / sum(one.area_mm2 for one in both)


METRIC = Metric(
    facts=MetricFacts(key="assd", title="ASSD", unit="mm", direction="lower", failed=math.inf),
    needs=("distances",),
    compute=assd,
    empty=DISTANCE,
)
