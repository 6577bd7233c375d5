"""Mean HD95 of lesions; missed and false ones are left out, unless the rules say what they cost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions
    from evaluator.profiles import Profile


def lesion_hd95(lesions: Lesions, rules: Profile) -> float:
    """Return the mean in mm; NaN where there is nothing to average."""
    pooled = rules.lesion_surface.percentile == "pooled"
    distances = [lesions.distances(number).percentile_mm(0.95, pooled=pooled) for number in lesions.matched]
    return lesions.mean(distances, lesions.missed_mm)


METRIC = Metric(
    facts=MetricFacts(key="lesion_hd95", title="Lesion HD95", unit="mm", direction="lower", failed=math.inf),
    needs=(
        "lesions",
        "rules",
    ),
    compute=lesion_hd95,
    empty=EmptyRule(both=math.nan, reference=math.nan, prediction=math.nan),
    always=True,
)
