"""Mean NSD of lesions; missed and false ones count 0, unless the rules take matched ones only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions
    from evaluator.profiles import Profile


def lesion_nsd(lesions: Lesions, lesion_tolerance_mm: float, rules: Profile) -> float:
    """Return the mean at the tolerance of the label or the rules; NaN where there is nothing to average."""
    shares = [
        lesions.distances(number).areas(lesion_tolerance_mm).share(rules.lesion_surface.nsd)
        for number in lesions.matched
    ]
    return lesions.mean(shares, 0.0)


METRIC = Metric(
    facts=MetricFacts(key="lesion_nsd", title="Lesion NSD", direction="higher", failed=0.0, percent=True),
    needs=(
        "lesions",
        "lesion_tolerance_mm",
        "rules",
    ),
    compute=lesion_nsd,
    empty=EmptyRule(both=1.0, reference=0.0, prediction=0.0),
    always=True,
)
