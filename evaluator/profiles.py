"""Rules of scoring, each a named option, so that an official script's rules are a set of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.volume import Casting


@dataclass(frozen=True, kw_only=True)
class Profile:
    """How counts and surfaces become scores.

    Attributes:
        name: What the score records call it.
        empty: By metric, what it is worth where a label is in one volume only or in neither; a metric that
            is not in it follows its own rule.
        checks_geometry: Compare the affines, reorient flips and axis swaps, refuse anything else. Without
            it, only the shapes must agree.
        takes_raw_zooms: Measure with the header's voxel sizes as if they were millimetres, whatever unit it
            names, as scripts do that ask nibabel for `get_zooms`.
        mends_spacing: Undo the rounding that NIfTI's float32 does to a spacing (0.8 is stored as
            0.800000012), where surface distances are measured.
        reference_casting: How stored numbers of the reference become labels.
        prediction_casting: The same of the prediction.
        cropped_labels: Voxel values of the labels that are scored only on the slices (third array axis)
            from the reference's first one to the one before its last.
        cropped_to_nothing: A score without a unit where that leaves no slice; the official scripts crash
            there.
        least_dsc_for_nsd: A DSC below this makes the NSD 0.
        zero_above: A prediction that holds any larger value scores 0 on every label; `None` for no limit.
        decimals: Scores without a unit are rounded to this many places; `None` for no rounding.
    """

    name: str
    empty: Mapping[str, EmptyRule] = field(default_factory=dict)
    checks_geometry: bool = True
    takes_raw_zooms: bool = False
    mends_spacing: bool = True
    reference_casting: Casting = "exact"
    prediction_casting: Casting = "exact"
    cropped_labels: frozenset[int] = frozenset()
    cropped_to_nothing: float = 0.0
    least_dsc_for_nsd: float = 0.0
    zero_above: int | None = None
    decimals: int | None = None

    def empty_rule(self, metric: Metric) -> EmptyRule:
        """Return what a metric is worth where a label is in one volume only or in neither."""
        return self.empty.get(metric.facts.key, metric.empty)

    def rounded(self, score: float) -> float:
        """Return a score with the profile's number of decimals."""
        return score if self.decimals is None else rounded(score, self.decimals)

    def compared_spacing(self, spacing_mm: tuple[float, float, float]) -> tuple[float, float, float]:
        """Return the spacing that surface distances are measured with."""
        if not self.mends_spacing:
            return spacing_mm
        x, y, z = (mended(size) for size in spacing_mm)
        return x, y, z


def rounded(score: float, decimals: int) -> float:
    """Return a score with this many decimals, as NumPy rounds; NaN stays."""
    if math.isnan(score):
        return score
    import numpy as np

    return float(np.round(np.float64(score), decimals))


def mended(size_mm: float) -> float:
    """Return a voxel size rounded to 1e-5 mm, if float32 storage explains the difference; else unchanged.

    `0.800000012` (what float32 makes of 0.8) becomes 0.8. 0.9765625, which float32 holds exactly, stays.
    """
    import numpy as np

    meant = round(size_mm, 5)
    is_storage_noise = abs(meant - size_mm) <= 4 * float(np.spacing(np.float32(size_mm)))
    return meant if is_storage_noise else size_mm


EXACT = Profile(name="exact")
"""Our default: all of every volume, checked geometry, stated rules for what is empty."""
