"""How lesions are found, matched and averaged, as data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Matching = Literal["touch", "greedy", "optimal", "merge", "voronoi"]


@dataclass(frozen=True, kw_only=True)
class LesionRules:
    """How lesions are found, matched and averaged.

    Attributes:
        connectivity: Neighbours of a voxel within one lesion: 6, 18 or 26.
        dilation: How often the reference is dilated, by 18 neighbours, before its lesions are told apart
            and before they are matched.
        merges: Whether the dilation also makes one lesion of those that it joins.
        matching: `touch`: a reference lesion has all predicted ones that touch it, whole, and one may serve
            several. `greedy`: one to one, best score first. `optimal`: one to one, largest sum of scores.
            `merge`: greedy, then a matched reference lesion takes another if the union scores higher.
            `voronoi`: a reference lesion has whatever is predicted nearest to it, parts of lesions, too, so
            that none is false.
        score: What ranks a pair: `iou` or `dice`.
        least: What a pair's score must reach.
        is_strict: Whether it must be above that.
        ignored_mm3: Reference lesions that are not larger are left out, and so are predictions that touch
            them.
        ignored_is_false: Whether predictions that touch nothing but lesions left out are false.
        keeps_limit: Whether a reference lesion of exactly that size is kept.
        means_over: `all`: matched, missed and false lesions, the latter two with the worst value;
            `matched`: matched pairs alone, and the worst value where there is none.
        missed_mm: The distance of a missed or false lesion; NaN leaves them out of means of distances,
            `diagonal` is the longest distance in the volume.
        needs_reference: Means are NaN without a reference lesion that is not left out.
        counts_ignored: Whether counts, and what is made of them, take lesions in that are left out of means.
        size_limits_ml: Volumes that divide reference lesions into small, medium and large ones.
        least_dice_by_size: The Dice that a match must reach to be found in the numbers by size.
    """

    connectivity: Literal[6, 18, 26] = 26
    dilation: int = 0
    merges: bool = True
    matching: Matching = "greedy"
    score: Literal["iou", "dice"] = "iou"
    least: float = 1e-6
    is_strict: bool = False
    ignored_mm3: float = -math.inf
    keeps_limit: bool = False
    ignored_is_false: bool = False
    means_over: Literal["all", "matched"] = "all"
    missed_mm: float | Literal["diagonal"] = math.nan
    needs_reference: bool = False
    counts_ignored: bool = False
    size_limits_ml: tuple[float, float] = (0.1, 1.0)
    least_dice_by_size: float = 0.0


DEFAULT_LESION_RULES = LesionRules()
"""Ours: 26 neighbours, one to one by IoU, best first, any overlap."""
