"""Mean average surface distance: the mean of the two directions' means, each by area."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import DISTANCE, Metric

if TYPE_CHECKING:
    from evaluator.distances import SurfaceDistances


def masd(distances: SurfaceDistances) -> float:
    """Return the mean in mm of the pair that surface-distance's `compute_average_surface_distance` gives."""
    return (distances.from_reference.mean_mm + distances.from_prediction.mean_mm) / 2


METRIC = Metric(
    facts=MetricFacts(key="masd", title="MASD", unit="mm", direction="lower", failed=math.inf),
    needs=("distances",),
    compute=masd,
    empty=DISTANCE,
)
