"""Rules of scoring, each a named option, so that an official script's rules are a set of values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from evaluator.lesion_rules import DEFAULT_LESION_RULES, LesionRules
from evaluator.metrics.metric import EmptyRule, Metric

if TYPE_CHECKING:
    from evaluator.distances import GridSpacing, Join, SurfaceKind
    from evaluator.labels import Label
    from evaluator.volume import Casting


@dataclass(frozen=True, kw_only=True)
class SurfaceRules:
    """What a surface is, and how distances between two of them become numbers.

    Attributes:
        kind: Corners of the voxel grid, by area, or border voxels, counted.
        percentile: The larger of the two directions' percentiles, or one of both directions together.
        nsd: The share of both surfaces together, or the mean of their two shares.
        spacing: The voxel size that distances and areas are measured with: the file's (`mm`), the file's in
            the order z, y, x (`reversed`, a fault of some official scripts), or one size for all axes and
            files, such as 1 for voxels.
        needs_overlap: Masks that share no voxel are worth what an empty prediction is.
        tolerance: Of NSD: the label's (`label`), the smallest voxel size (`smallest`), or so many mm.
    """

    kind: SurfaceKind = "surfels"
    percentile: Literal["larger", "pooled"] = "larger"
    nsd: Join = "pooled"
    spacing: Literal["mm", "reversed"] | float = "mm"
    needs_overlap: bool = False
    tolerance: Literal["label", "smallest"] | float = "label"

    def measured(self, spacing: GridSpacing) -> GridSpacing:
        """Return the voxel sizes that are measured with."""
        if isinstance(self.spacing, str):
            return spacing.reversed if self.spacing == "reversed" else spacing
        return spacing.all_of(self.spacing)

    def tolerance_mm(self, label: Label, spacing: GridSpacing) -> float:
        """Return the tolerance of NSD for a label."""
        if self.tolerance == "label":
            return label.tolerance_mm
        return min(spacing.distances_mm) if self.tolerance == "smallest" else float(self.tolerance)


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
        dice_epsilon: Added to the denominator of Dice.
        surface: Surfaces of whole labels.
        lesion_surface: Surfaces of single lesions.
        lesions: How lesions are found, matched and averaged.
        metrics: What the official script reports; the default of a command that names the profile alone.
        defects: What is known to be wrong with the script or its rules.
        source: Where the rules were read.
        about: What a reader should know besides.
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
    dice_epsilon: float = 0.0
    surface: SurfaceRules = SurfaceRules()
    lesion_surface: SurfaceRules = SurfaceRules()
    lesions: LesionRules = DEFAULT_LESION_RULES
    metrics: tuple[str, ...] = ()
    defects: tuple[str, ...] = ()
    source: str = ""
    about: str = ""

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
