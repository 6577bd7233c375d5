"""Normalised surface Dice: the share of both surfaces, by area, within the tolerance of the other one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import SHARE, Metric

if TYPE_CHECKING:
    from evaluator.distances import SurfaceAreas
    from evaluator.profiles import Profile


def nsd(areas: SurfaceAreas, rules: Profile) -> float:
    """Return the area of the surface elements within the tolerance over the area of all.

    As surface-distance's `compute_surface_dice_at_tolerance` (Nikolov et al., arXiv:1809.04430). A profile
    may take the mean of the two surfaces' shares instead, or count border voxels in place of areas.
    """
    return areas.share(rules.surface.nsd)


METRIC = Metric(
    facts=MetricFacts(
        key="nsd", title="NSD", direction="higher", failed=0.0, percent=True, aliases=("surface_dice",)
    ),
    needs=("areas", "rules"),
    compute=nsd,
    empty=SHARE,
)
