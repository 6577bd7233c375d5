"""Mean Dice of lesions; missed and false ones count 0, unless the rules take matched ones only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.lesions import Lesions


def lesion_dice(lesions: Lesions) -> float:
    """Return the mean; NaN where there is nothing to average."""
    return lesions.mean([lesions.dice(number) for number in lesions.matched], 0.0)


METRIC = Metric(
    facts=MetricFacts(
        key="lesion_dice",
        title="Lesion Dice",
        direction="higher",
        failed=0.0,
        percent=True,
        aliases=("lesionwise_dice",),
    ),
    needs=("lesions",),
    compute=lesion_dice,
    empty=EmptyRule(both=1.0, reference=0.0, prediction=0.0),
    always=True,
)
