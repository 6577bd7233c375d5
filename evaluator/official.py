"""The rules of public scoring scripts, as data: which regions they score, how, and with what faults.

Each profile is the set of values that makes the evaluator give the script's numbers. `source` names
repository and commit that the rules were read from, `defects` what is known to be wrong with them, so that a
number can be reproduced and yet not be mistaken for a better one. FLARE's profiles stand in flare.py, the
labels of the others' challenges in official_labels.py.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from evaluator.lesion_rules import LesionRules
from evaluator.metrics.metric import EmptyRule
from evaluator.official_labels import UNVERIFIED
from evaluator.profiles import Profile, SurfaceRules

_NAN = math.nan
_VOXELS = SurfaceRules(kind="voxels")
_POOLED_VOXELS = SurfaceRules(kind="voxels", percentile="pooled", nsd="mean")
_UNDEFINED = EmptyRule(both=_NAN, reference=_NAN, prediction=_NAN)
_NAN_OR_0 = EmptyRule(both=_NAN, reference=0.0, prediction=0.0)
_0_OR_NAN = EmptyRule(both=0.0, reference=_NAN, prediction=_NAN)


def _rules(name: str, **values: object) -> Profile:
    return replace(Profile(name=name, mends_spacing=False, checks_geometry=False), **values)  # type: ignore[arg-type]


def _brats2023(name: str, dilation: int, limit_mm3: float) -> Profile:
    return _rules(
        name,
        lesions=LesionRules(dilation=dilation, matching="touch", ignored_mm3=limit_mm3, missed_mm=374.0),
        empty={
            "lesion_dice": EmptyRule(both=1.0, reference=0.0, prediction=0.0),
            "lesion_hd95": EmptyRule(both=0.0, reference=374.0, prediction=374.0),
            "hd95": EmptyRule(both=0.0, reference=374.0, prediction=374.0),
        },
        metrics=("lesion_dice", "lesion_hd95", "lesion_tp", "lesion_fp", "lesion_fn", "dsc", "hd95"),
        defects=(
            "a lesion counts as found where a prediction touches its dilation: its Dice may be 0",
            "false lesions cost the same whatever their size; reference lesions below the limit cost nothing",
            f"lesions with up to {2 * dilation} empty voxels between them are one",
        ),
        source="BraTS-2023-Metrics at 43c9052",
    )


def _brats2025(name: str) -> Profile:
    return _rules(
        name,
        surface=replace(_POOLED_VOXELS, spacing=1.0, tolerance=0.5, needs_overlap=True),
        lesion_surface=replace(_POOLED_VOXELS, spacing="reversed", tolerance="smallest"),
        lesions=LesionRules(matching="optimal", score="dice", means_over="matched", missed_mm=math.inf),
        empty={
            key: EmptyRule(both=_NAN, reference=0.0, prediction=0.0)
            for key in ("dsc", "nsd", "lesion_dice", "lesion_nsd", "lesion_f1")
        }
        | {
            key: EmptyRule(both=_NAN, reference="computed", prediction="computed")
            for key in ("lesion_recall", "lesion_precision")
        }
        | {
            "hd95": EmptyRule(both=_NAN, reference=373.0, prediction=373.0),
            "lesion_hd95": EmptyRule(both=_NAN, reference=math.inf, prediction=math.inf),
        },
        metrics=("lesion_dice", "lesion_nsd", "lesion_hd95", "lesion_f1", "dsc", "nsd", "hd95"),
        defects=(
            "lesion means are over matched pairs alone: missed and false lesions cost nothing there",
            "lesion distances take the spacing in reversed order, global ones none: right at 1 mm only",
            "a case that raised an error is left out",
        ),
        source="BraTS-evaluation 0.0.10 on panoptica 2.1.7",
    )


def _brats2025_mets() -> Profile:
    base = _brats2025("brats2025-mets")
    rules = replace(
        base.lesions,
        means_over="all",
        ignored_mm3=20.0,
        keeps_limit=True,
        missed_mm=373.0,
        needs_reference=True,
        counts_ignored=True,
        size_limits_ml=(0.02, 0.02),
        least_dice_by_size=0.1,
    )
    return replace(
        base,
        lesions=rules,
        empty=dict(base.empty)
        | {
            key: EmptyRule(both=_NAN, reference=_NAN, prediction="computed")
            for key in ("lesion_dice", "lesion_nsd", "lesion_hd95")
        },
        defects=(
            "every false lesion costs 0 and 373 mm, whatever its size; the same false lesions are counted for"
            " large and for small lesions",
            "a lesion that is matched below a Dice of 0.1 is found among all, missed among those of its size",
            *base.defects[1:],
        ),
        metrics=(
            *base.metrics,
            *("lesion_tp", "lesion_fp", "lesion_fn"),
            *(f"lesion_{what}_{size}" for size in ("large", "small") for what in ("f1", "tp", "fn")),
        ),
        about="lesion_tp, _fp, _fn and _f1 are its all_instance numbers; large is 20 mm3 and more, small the"
        " rest; false lesions of a size are lesion_fp",
    )


def _panoptica(name: str, rules: LesionRules) -> Profile:
    return _rules(
        name,
        surface=_POOLED_VOXELS,
        lesion_surface=replace(_POOLED_VOXELS, tolerance="smallest"),
        lesions=replace(rules, means_over="matched", missed_mm=math.inf),
        empty={"dsc": _NAN_OR_0, "iou": _NAN_OR_0, "lesion_f1": _NAN_OR_0, "pq": _NAN_OR_0, "sq": _NAN_OR_0},
        metrics=(
            "lesion_f1",
            "pq",
            "sq",
            "lesion_dice",
            "lesion_hd95",
            "lesion_nsd",
            "lesion_tp",
            "lesion_fp",
            "lesion_fn",
        ),
        defects=(
            "from files, panoptica takes the spacing in reversed order; here it is in the right one",
            "its sq_assd is the mean of two means, MASD",
        ),
        source="panoptica 2.1.7",
        about="lesion_nsd at the smallest voxel size; nothing matched: 0",
    )


def _mist(name: str, lesions: LesionRules, *defects: str) -> Profile:
    return _rules(
        name,
        lesions=replace(lesions, connectivity=18, matching="touch", dilation=3, missed_mm="diagonal"),
        empty={
            key: EmptyRule(both=_NAN, reference=0.0, prediction=0.0)
            for key in ("lesion_dice", "lesion_nsd", "lesion_f1")
        }
        | {"lesion_hd95": EmptyRule(both=_NAN, reference="diagonal", prediction="diagonal")},
        metrics=("lesion_dice", "lesion_hd95", "lesion_nsd", "lesion_f1"),
        defects=(
            "a lesion counts as found where a prediction touches its dilation: its Dice may be 0",
            "a prediction that touches nothing but a reference lesion below the limit is false",
            *defects,
        ),
        source="MIST's lesion-wise metrics at f727791",
        about="lesions of 10 mm3 and more count; with `mist-brats` of 50 mm3, as in the BraTS glioma example"
        " of its README; a label's tolerance is 1 mm there unless said",
    )


def _all() -> dict[str, Profile]:
    brats2023 = {"gli": (3, 50.0), "ped": (3, 50.0), "ssa": (3, 50.0), "men": (1, 50.0), "met": (1, 2.0)}
    profiles = [_brats2023(f"brats2023-{task}", *values) for task, values in brats2023.items()]
    profiles += [_brats2025(f"brats2025-{task}") for task in ("gli", "ped", "men", "goat")]
    profiles += [
        _brats2025_mets(),
        _rules(
            "autopet",
            lesions=LesionRules(connectivity=18, matching="touch"),
            empty={
                "dsc": EmptyRule(both=_NAN, reference=_NAN, prediction=0.0),
                "fn_volume": EmptyRule(both=_NAN, reference=_NAN, prediction="computed"),
            },
            metrics=("dsc", "fp_volume", "fn_volume"),
            defects=(
                "Dice of masks that are not 0 and 1 is wrong in the script; here any other value is one",
                "autoPET IV's command line does not run; only its functions work",
            ),
            source="autoPET III's script at 9b3dd51; autoPET IV's at 80af68d",
            about="volumes agree to 1e-7: the script has voxel sizes in float32",
        ),
        _rules(
            "kits23",
            metrics=("dsc", "nsd"),
            defects=("shape and spacing are never compared", "a missing case is passed over"),
            source="github.com/neheller/kits23 at c108835",
        ),
        _rules(
            "isles22",
            lesions=LesionRules(matching="touch"),
            metrics=("dsc", "absolute_volume_error", "lesion_count_difference", "lesion_f1"),
            source="ISLES'22's script at 31b7c8c",
        ),
        _rules(
            "isles24",
            lesions=LesionRules(least=0.2),
            metrics=("dsc", "absolute_volume_error", "lesion_count_difference", "lesion_f1"),
            defects=(
                "with more than 255 lesions the script's counts, F1 and Dice are wrong; here they are right",
            ),
            source="ISLES'24's script at 94b3486, on panoptica 1.0.1",
        ),
        _rules(
            "atlas2",
            lesions=LesionRules(connectivity=6, matching="touch"),
            metrics=("dsc", "volume_error_voxels", "lesion_count_difference", "lesion_f1"),
            defects=("outside of its batch mode the script's volume difference is always 0",),
            source="ATLAS R2.0's script at 55b9524",
        ),
        _toothfairy("toothfairy2"),
        _toothfairy("toothfairy3"),
        _rules(
            "totalsegmentator",
            surface=SurfaceRules(spacing=1.5, tolerance=3.0),
            dice_epsilon=1e-6,
            empty={
                "dsc": EmptyRule(both=_NAN, reference=_NAN, prediction=0.0),
                "nsd": EmptyRule(both=_NAN, reference=_NAN, prediction=0.0),
            },
            metrics=("dsc", "nsd"),
            defects=(
                "distances are measured at 1.5 mm, whatever the file says",
                "a structure that the reference lacks is not scored: false positives are free",
            ),
            source="github.com/wasserth/TotalSegmentator at 0e65a44",
        ),
        _rules(
            "nnunet",
            empty={"dsc": _NAN_OR_0, "iou": _NAN_OR_0},
            metrics=("dsc", "iou"),
            defects=("the prediction folder decides which cases count; here the references do",),
            source="nnunetv2 2.8.1",
        ),
        _rules(
            "monai",
            surface=_VOXELS,
            empty={
                "dsc": EmptyRule(both=1.0, reference=0.0, prediction=0.0),
                "nsd": EmptyRule(both=_NAN, reference=0.0, prediction=0.0),
                "hd": EmptyRule(both=_NAN, reference=math.inf, prediction=math.inf),
                "hd95": _UNDEFINED,
                "assd": EmptyRule(both=_NAN, reference=math.inf, prediction=math.inf),
            },
            metrics=("dsc", "nsd", "hd", "hd95", "assd"),
            defects=(
                "HD95 is NaN where one mask is empty, so that means drop the worst cases",
                "its percentiles are in float32: up to 3e-5 off",
            ),
            source="MONAI 1.6.1; average distance with symmetric=True, Dice with ignore_empty=False",
        ),
        _rules(
            "panther",
            surface=SurfaceRules(spacing="reversed", tolerance=5.0),
            empty={
                "dsc": EmptyRule(both=0.0, reference=0.0, prediction=0.0),
                "nsd": EmptyRule(both=0.0, reference=0.0, prediction=0.0),
                "hd95": EmptyRule(both="diagonal", reference=math.inf, prediction="diagonal"),
                "masd": EmptyRule(both="diagonal", reference=_NAN, prediction="diagonal"),
            },
            metrics=("dsc", "nsd", "hd95", "masd"),
            defects=(
                "official, with stated faults: the spacing is taken in reversed order (6.89 for 6.34 mm)",
                "an empty prediction ends the script's whole evaluation; here it costs its own case",
            ),
            source="PANTHER's evaluation at 0642932",
        ),
        _rules(
            "lits2017",
            surface=SurfaceRules(kind="voxels18"),
            empty={
                "dsc": EmptyRule(both=_NAN, reference=0.0, prediction=0.0),
                "iou": EmptyRule(both=_NAN, reference=0.0, prediction=0.0),
                "assd": EmptyRule(both=_NAN, reference=0.0, prediction=_NAN),
            },
            metrics=("dsc", "iou", "assd"),
            defects=(
                "official, with stated faults: a lesion that the reference lacks has an ASSD of 0",
                "an empty prediction makes the script crash; here it has no distance",
                "its relative volume difference divides by the prediction; ours divides by the reference",
            ),
            source="LITS-CHALLENGE's notebook at c064892",
        ),
        _rules(
            f"lits2017-server{UNVERIFIED}",
            lesion_surface=SurfaceRules(kind="voxels18"),
            lesions=LesionRules(least=0.5, is_strict=True, means_over="matched", missed_mm=9001.0),
            empty={"assd": EmptyRule(both=9001.0, reference=9001.0, prediction=9001.0)},
            metrics=("dsc", "iou", "assd", "lesion_precision", "lesion_recall", "lesion_dice"),
            surface=SurfaceRules(kind="voxels18"),
            defects=(
                "unverified: retold from public copies, never held against the server's numbers",
                "the server joins reference lesions that one prediction spans, and predictions that one"
                " reference lesion spans; here lesions are matched one to one",
                "the server's second pair of numbers, for any overlap, is a limit of 0 put in by hand; its"
                " tumour burden is not computed",
                "what the server gives for an empty Dice is not known: here 1, 0, 0",
            ),
            source="public copies of the scoring code of LiTS 2017 on CodaLab, not run",
            about="a lesion is found above an IoU of 0.5; undefined distances are 9001 mm",
        ),
        _mist("mist", LesionRules(merges=False, ignored_mm3=10.0, keeps_limit=True, ignored_is_false=True)),
        _mist(
            "mist-brats",
            LesionRules(ignored_mm3=50.0, keeps_limit=True, ignored_is_false=True),
            "with `mist-brats` lesions with up to 6 empty voxels between them are one",
        ),
        _panoptica("panoptica", LesionRules(least=0.5)),
        _panoptica("panoptica-bipartite", LesionRules(matching="optimal", score="dice")),
        _panoptica("panoptica-merge", LesionRules(matching="merge", least=0.1)),
        _rules(
            "cc-metrics",
            lesion_surface=SurfaceRules(spacing=1.0),
            lesions=LesionRules(matching="voronoi"),
            empty={"lesion_dice": EmptyRule(both=_NAN, reference=_NAN, prediction=0.0)},
            metrics=("lesion_dice",),
            defects=(
                "regions are measured in voxels, whatever the spacing",
                "where the reference holds no lesion, no false one is counted",
            ),
            source="CC-metrics (Jaus et al. 2024); by its definition, not held against its own output",
        ),
    ]
    return {profile.name: profile for profile in profiles}


def _toothfairy(name: str) -> Profile:
    return _rules(
        name,
        surface=replace(_POOLED_VOXELS, spacing=1.0),
        empty={"hd95": EmptyRule(both=0.0, reference="diagonal", prediction="diagonal")},
        metrics=("dsc", "hd95"),
        defects=(
            "HD95 is in voxels, whatever the spacing",
            "a case's value is the mean over all labels of the list: those in neither volume count 1 and 0",
        ),
        source="ToothFairy's evaluation at 681e8b0",
    )


PROFILES: Mapping[str, Profile] = _all()
"""Profiles of public scripts, by name."""
