"""The numbers of official scripts and peers on pairs made to tell their rules apart, computed beforehand."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from volumes import volume

from evaluator import CaseScore, Label, LabelTable, Profile, Scoring, profile_named, score_case, score_folder
from evaluator.lesion_rules import LesionRules
from evaluator.official_labels import TABLES
from evaluator.profiles import SurfaceRules

PLAIN = replace(profile_named("exact", "any"), mends_spacing=False)
"""The exact profile with the spacing as the files store it, as every tool takes it."""


@dataclass(frozen=True)
class Tool:
    """What a tool's values are compared with.

    Attributes:
        name: Its key in the file of values.
        profile: Our rules.
        keys: Its names, and our metrics.
        tolerance: The largest relative difference.
        labels: The table; by default one row per voxel value.
        rows: Our row of a label of the tool, where the two are not named alike.
        skipped: Cases in which the tool is known to be wrong.
        tolerance_mm: Of NSD.
        where_both: Compare only labels that both volumes hold, as it is said nowhere what others are worth.
    """

    name: str
    profile: Profile
    keys: Mapping[str, str]
    tolerance: float = 1e-9
    labels: LabelTable | None = None
    skipped: frozenset[str] = frozenset()
    tolerance_mm: float = 1.0
    where_both: bool = False


def official(name: str) -> Profile:
    return profile_named(name, "any")


VOXELS = replace(PLAIN, surface=SurfaceRules(kind="voxels"))
POOLED = replace(PLAIN, surface=SurfaceRules(kind="voxels", percentile="pooled", nsd="mean"))
BRATS2023 = {
    "LesionWise_Score_Dice": "lesion_dice",
    "LesionWise_Score_HD95": "lesion_hd95",
    "Num_TP": "lesion_tp",
    "Num_FP": "lesion_fp",
    "Num_FN": "lesion_fn",
    "Legacy_Dice": "dsc",
    "Legacy_HD95": "hd95",
    "Sensitivity": "sensitivity",
}
PANOPTICA = {
    "tp": "lesion_tp",
    "fp": "lesion_fp",
    "fn": "lesion_fn",
    "rq": "lesion_f1",
    "sq": "sq",
    "pq": "pq",
    "sq_dsc": "lesion_dice",
    "sq_hd95": "lesion_hd95",
    "sq_nsd": "lesion_nsd",
}
BRATS2025 = {
    "all_instance_f1": "lesion_f1",
    "global_dsc": "dsc",
    "global_nsd": "nsd",
    "global_hd95": "hd95",
    "lesionwise_dsc_mean": "lesion_dice",
    "lesionwise_nsd_mean": "lesion_nsd",
    "lesionwise_hd95_mean": "lesion_hd95",
}
BRATS2025_ALL = BRATS2025 | {
    f"all_instance_{theirs}": f"lesion_{ours}"
    for theirs, ours in {"tp": "tp", "fp": "fp", "fn": "fn", "rec": "recall", "prec": "precision"}.items()
}
BRATS2025_METS = BRATS2025_ALL | {
    f"{size}_instance_{theirs}": f"lesion_{ours}_{size}"
    for size in ("large", "small")
    for theirs, ours in {"tp": "tp", "fn": "fn", "rec": "recall", "f1": "f1"}.items()
}

MIST = {
    "lesion_wise_dice": "lesion_dice",
    "lesion_wise_haus95": "lesion_hd95",
    "lesion_wise_surf_dice": "lesion_nsd",
    "lesion_wise_f1": "lesion_f1",
}


def panoptica(name: str, **rules: Any) -> Tool:
    profile = official("panoptica")
    profile = replace(profile, lesions=LesionRules(means_over="matched", missed_mm=math.inf, **rules))
    return Tool(f"panoptica@2.1.7:{name}", profile, PANOPTICA, where_both=True)


TOOLS = [
    Tool(
        "surface-distance@1f805ce",
        PLAIN,
        {
            "dice": "dsc",
            "hd": "hd",
            "hd95": "hd95",
            "masd": "masd",
            "assd_area_weighted": "assd",
            "nsd@1": "nsd",
        },
        where_both=True,
    ),
    Tool(
        "metricsreloaded@cb38dfc",
        VOXELS,
        {
            "dsc": "dsc",
            "iou": "iou",
            "sensitivity": "sensitivity",
            "hd": "hd",
            "hd_perc": "hd95",
            "assd": "assd",
            "masd": "masd",
            "nsd@1": "nsd",
            "boundary_iou": "boundary_iou",
        },
        where_both=True,
    ),
    Tool("medpy@0.5.2", POOLED, {"dc": "dsc", "hd": "hd", "hd95": "hd95"}, where_both=True),
    Tool(
        "exacta@0.0.1a5",
        PLAIN,
        {"assd@surfels": "assd", "masd@surfels": "masd", "hd95@surfels": "hd95", "hd@surfels": "hd"},
        where_both=True,
    ),
    # Where neither skeleton meets the other mask, 0 / 0 is NaN there and 0 here.
    *(
        Tool(name, PLAIN, {"cldice": "cldice"}, skipped=frozenset({"disjoint"}), where_both=True)
        for name in ("scikit-image@0.26.0", "metricsreloaded@cb38dfc")
    ),
    Tool(
        "monai@1.6.1",
        official("monai"),
        {"dice": "dsc", "nsd@1": "nsd", "hd": "hd", "hd95": "hd95", "assd": "assd"},
        tolerance=4e-5,
    ),
    Tool("nnunetv2@2.8.1", official("nnunet"), {"Dice": "dsc", "IoU": "iou"}),
    Tool("totalsegmentator@0e65a44", official("totalsegmentator"), {"dice": "dsc", "nsd3": "nsd"}),
    Tool(
        "panther@0642932",
        official("panther"),
        {"volumetric_dice": "dsc", "surface_dice": "nsd", "hausdorff95": "hd95", "masd": "masd"},
        tolerance_mm=5.0,
    ),
    Tool("lits2017@c064892", official("lits2017"), {"dice": "dsc", "jaccard": "iou", "assd": "assd"}),
    Tool(
        "isles22@31b7c8c",
        official("isles22"),
        {
            "avd_ml": "absolute_volume_error",
            "dice": "dsc",
            "lesion_count_difference": "lesion_count_difference",
            "lesion_f1": "lesion_f1",
        },
    ),
    Tool(
        "isles24@94b3486",
        official("isles24"),
        {
            "avd_ml": "absolute_volume_error",
            "dice": "dsc",
            "instance_count_difference": "lesion_count_difference",
            "f1": "lesion_f1",
        },
        skipped=frozenset({"dense"}),
    ),
    Tool(
        "atlas2@55b9524",
        official("atlas2"),
        {
            "dice": "dsc",
            "volume_difference_voxels": "volume_error_voxels",
            "simple_lesion_count": "lesion_count_difference",
            "lesion_f1": "lesion_f1",
        },
    ),
    *(
        Tool(
            f"autopet{edition}",
            official("autopet"),
            {"dice": "dsc", "fpv_ml": "fp_volume", "fnv_ml": "fn_volume"},
            tolerance=1e-6,
        )
        for edition in ("3@9b3dd51", "4@80af68d")
    ),
    Tool("kits23@c108835", official("kits23"), {"dice": "dsc", "sd": "nsd"}, labels=TABLES["kits23"]),
    *(
        Tool(f"brats2023@43c9052:BraTS-{task.upper()}", official(f"brats2023-{task}"), BRATS2023)
        for task in ("gli", "men", "met")
    ),
    *(
        Tool(
            f"brats_evaluation@0.0.10:{task}",
            official(f"brats2025-{task}"),
            BRATS2025_ALL,
            labels=TABLES[f"brats2025-{task}"],
        )
        for task in ("gli", "ped")
    ),
    Tool(
        "brats_evaluation@0.0.10:mets",
        official("brats2025-mets"),
        BRATS2025_METS,
        labels=TABLES["brats2025-mets"],
    ),
    *(
        Tool(f"mist@f727791:{setting}", official(name), MIST, tolerance=1e-9)
        for setting, name in (("default", "mist"), ("brats_like", "mist-brats"))
    ),
    *(
        Tool(f"{name}@681e8b0", official(name), {"dice": "dsc", "hd95_voxels": "hd95"}, labels=TABLES[name])
        for name in ("toothfairy2", "toothfairy3")
    ),
    panoptica("naive_iou0.5", least=0.5),
    panoptica("naive_iou0.2", least=0.2),
    panoptica("naive_iou0.1", least=0.1),
    panoptica("naive_iou1e-6", least=1e-6),
    panoptica("naive_dsc0.1", least=0.1, score="dice"),
    panoptica("bipartite_iou0.1", least=0.1, matching="optimal"),
    panoptica("bipartite_dsc1e-6", score="dice", matching="optimal"),
    panoptica("merge_iou0.1", least=0.1, matching="merge"),
    panoptica("merge_iou1e-6", matching="merge"),
]


@pytest.fixture(scope="module")
def golden(shared_data: Path) -> Callable[[Tool], Mapping[str, CaseScore]]:
    def score(tool: Tool) -> Mapping[str, CaseScore]:
        folder = shared_data / "golden_lesions"
        plain = LabelTable(
            "any", tuple(Label(value, str(value), tool.tolerance_mm) for value in range(1, 256))
        )
        scoring = Scoring(tool.labels or plain, profile=tool.profile, metrics=tuple(tool.keys.values()))
        return {
            score.case: score for score in score_folder(folder / "labels", folder / "predictions", scoring)
        }

    return score


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_the_tools_numbers(shared_data: Path, golden: Callable[..., Any], tool: Tool) -> None:
    record = json.loads((shared_data / "golden_lesions" / "expected.json").read_text())["cases"]
    scores = golden(tool)
    compared, wrong = 0, []
    for case, expected in record.items():
        if case in tool.skipped:
            continue
        rows = {row.organ.lower(): row for row in scores[case].labels}
        for label, values in expected["values"].get(tool.name, {}).items():
            row = rows.get(row_name(tool, label))
            if row is None or "error" in values:
                continue
            if tool.where_both and not (row.reference_ml and row.prediction_ml):
                continue
            for theirs, ours in tool.keys.items():
                if values.get(theirs) is None:
                    continue
                value, found = float(values[theirs]), row.scores[ours]
                compared += 1
                if found != pytest.approx(value, rel=tool.tolerance, abs=1e-9, nan_ok=True):
                    wrong.append((case, label, ours, found, value))
    assert not wrong, f"{len(wrong)} of {compared}: {wrong[:12]}"
    assert compared >= 24


def row_name(tool: Tool, label: str) -> str:
    if tool.name.startswith("toothfairy"):
        return "pulp" if label == "150" else f"label {label}"
    return label.lower()


def test_every_profile_names_its_source_and_empties_are_numbers() -> None:
    from evaluator.official import PROFILES

    for profile in PROFILES.values():
        assert profile.source, profile.name
        assert profile.metrics, profile.name
        for rule in profile.empty.values():
            values = (rule.both, rule.reference, rule.prediction)
            assert all(isinstance(value, (str, float)) for value in values)
            assert not any(isinstance(value, float) and value == -math.inf for value in values)


def test_unverified_rules_say_so_in_their_name_and_their_defects() -> None:
    from evaluator.official import PROFILES
    from evaluator.official_labels import UNVERIFIED

    marked = {name for name in PROFILES if name.endswith(UNVERIFIED)}
    said = {
        name for name, profile in PROFILES.items() if any("unverified" in line for line in profile.defects)
    }
    assert marked == said == {"lits2017-server-unverified"}
    assert TABLES["lits2017-server-unverified"].voxel_values == tuple(range(1, 256))


def blocks(*boxes: tuple[slice, slice, slice]) -> np.ndarray:
    volume = np.zeros((24, 12, 12), np.uint8)
    for box in boxes:
        volume[box] = 2
    return volume


def test_the_server_of_lits_finds_lesions_above_half_and_puts_9001_for_no_distance() -> None:
    half, whole = (slice(1, 3),) * 3, (slice(1, 3), slice(1, 3), slice(1, 5))
    more = (slice(10, 14),) * 3
    labels = TABLES["lits2017-server-unverified"]
    scoring = Scoring(
        labels, profile="lits2017-server-unverified", metrics=("assd", "lesion_recall", "lesion_precision")
    )
    score = score_case(volume(blocks(whole, more)), volume(blocks(half, more)), scoring)
    assert score[2].scores["lesion_recall"] == 0.5  # an IoU of exactly 0.5 is not above it
    assert score[2].scores["lesion_precision"] == 0.5
    missed = score_case(volume(blocks(more)), volume(blocks()), scoring)
    assert missed[2].scores["assd"] == 9001
    assert missed[2].scores["lesion_recall"] == 0


def test_numbers_by_size_and_counts_of_ignored_lesions_follow_the_rules() -> None:
    """Three lesions of 8, 27 and 64 mm3: found well, found by one voxel of 27, missed; one false."""
    small, middle, large = ((slice(at, at + side),) * 3 for at, side in ((0, 2), (4, 3), (8, 4)))
    corner, stray = (slice(6, 7),) * 3, (slice(20, 21), slice(0, 1), slice(0, 1))
    reference, prediction = blocks(small, middle, large), blocks(small, corner, stray)
    keys = [f"lesion_{what}_{size}" for what in ("tp", "fn", "f1") for size in ("small", "large")]
    metrics = (*keys, "lesion_tp", "lesion_fn", "lesion_fp", "lesion_f1", "lesion_dice")
    rules = replace(PLAIN, lesions=official("brats2025-mets").lesions)
    table = LabelTable("t", (Label(2, "lesion", 1.0),))
    scores = score_case(
        volume(reference), volume(prediction), Scoring(table, profile=rules, metrics=metrics)
    )[2].scores
    assert [scores[key] for key in keys] == [1, 0, 0, 2, pytest.approx(2 / 3), 0]
    assert (scores["lesion_tp"], scores["lesion_fn"], scores["lesion_fp"]) == (2, 1, 1)
    assert scores["lesion_f1"] == pytest.approx(4 / 6)
    assert scores["lesion_dice"] == pytest.approx((2 / 28) / 3)  # the small one is in no mean
