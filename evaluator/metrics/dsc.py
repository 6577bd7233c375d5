"""Dice similarity coefficient: twice the common voxels over the voxels of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import SHARE, Metric

if TYPE_CHECKING:
    from evaluator.needs import Counts
    from evaluator.profiles import Profile


def dsc(counts: Counts, rules: Profile) -> float:
    """Return 2 |A and B| / (|A| + |B|), to the last bit as surface-distance computes it.

    A profile may add a small number to the denominator, as scripts do against a division by zero.
    """
    both = counts.scored_reference_voxels + counts.scored_prediction_voxels
    return 2 * counts.overlap_voxels / (both + rules.dice_epsilon)


METRIC = Metric(
    facts=MetricFacts(
        key="dsc", title="DSC", direction="higher", failed=0.0, percent=True, aliases=("dice",)
    ),
    needs=("counts", "rules"),
    compute=dsc,
    empty=SHARE,
)
