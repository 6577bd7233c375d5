"""Centreline Dice, for tubes only: how much of each skeleton lies inside the other mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import SHARE, Metric

if TYPE_CHECKING:
    from evaluator.skeletons import Skeletons


def cldice(skeletons: Skeletons) -> float:
    """Return the harmonic mean of the two shares (Shit et al., CVPR 2021); NaN if a skeleton is empty.

    Skeletons are Lee's (1994), thinned on axes x, y, z in this order. Thinning is not invariant: other orders
    give other numbers, and solids of even size vanish.
    """
    precision = skeletons.prediction_share
    sensitivity = skeletons.reference_share
    both = precision + sensitivity
    return 2 * precision * sensitivity / both if both else both


METRIC = Metric(
    facts=MetricFacts(key="cldice", title="clDice", direction="higher", failed=0.0, percent=True),
    needs=("skeletons",),
    compute=cldice,
    empty=SHARE,
)
