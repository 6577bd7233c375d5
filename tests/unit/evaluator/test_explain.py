"""An explanation names the rules that change a number, the worst places, and what a tolerance would do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from volumes import box, save

from evaluator.__main__ import main
from evaluator.explain import Explanation, explain, single_changes
from evaluator.explain_pages import as_html, as_text
from evaluator.shipped import label_table, profile_named

SPACING = (1.0, 1.0, 5.0)
REFERENCE = box((40, 40, 12), (5, 5, 2), (20, 20, 8), 5)
PREDICTION = np.maximum(
    box((40, 40, 12), (6, 5, 2), (21, 20, 9), 5), box((40, 40, 12), (34, 34, 10), (36, 36, 11), 5)
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return (
        save(tmp_path / "a" / "case.nii.gz", REFERENCE, SPACING),
        save(tmp_path / "b" / "case.nii.gz", PREDICTION, SPACING),
    )


@pytest.fixture
def explanation(files: tuple[Path, Path]) -> Explanation:
    return explain(*files, label_table("flare22"))


def test_only_labels_that_a_file_holds_are_explained(explanation: Explanation) -> None:
    assert [found.label.name for found in explanation.labels] == ["aorta"]
    assert list(explanation.labels[0].scores) == ["exact", "flare", "nnunet", "monai", "totalsegmentator"]


def test_the_crop_of_the_official_script_is_named_as_the_reason(explanation: Explanation) -> None:
    reasons = {(reason.rule, reason.metric) for reason in explanation.labels[0].reasons["flare"]}
    assert ("cropped_labels", "dsc") in reasons
    assert ("surface.kind", "nsd") in {
        (reason.rule, reason.metric) for reason in explanation.labels[0].reasons["monai"]
    }
    assert explanation.labels[0].reasons["nnunet"] == ()


def test_the_worst_place_is_the_stray_island(explanation: Explanation) -> None:
    worst = explanation.labels[0].places[0]
    assert worst.side == "prediction" and worst.distance_mm > 15
    assert worst.voxel[0] in range(34, 37) and worst.voxel[2] in (10, 11)
    assert worst.position_mm == tuple(
        (place - 0.5) * size for place, size in zip(worst.voxel, SPACING, strict=True)
    )


def test_nsd_grows_with_the_tolerance(explanation: Explanation) -> None:
    found = explanation.labels[0]
    curve = list(found.nsd_by_tolerance.values())
    assert curve == sorted(curve) and curve[0] < curve[-1]
    assert found.nsd_by_tolerance[2.0] == found.scores["exact"]["nsd"]


def test_the_page_has_pictures_and_the_text_says_the_same(explanation: Explanation) -> None:
    page, text = as_html(explanation), as_text(explanation)
    assert page.count("data:image/png;base64,") == len(explanation.labels[0].places) > 0
    for words in ("aorta", "slice 1", "monai", "border voxels are counted"):
        assert words in page and words in text


def test_a_change_of_one_rule_changes_only_that_rule() -> None:
    changes = dict(single_changes(profile_named("totalsegmentator", "any")))
    assert {"surface.spacing", "surface.tolerance", "dice_epsilon"} <= set(changes)
    assert changes["surface.spacing"].surface.tolerance == "label"
    assert list(single_changes(profile_named("exact", "any"))) == []


def test_the_command_prints_and_writes(files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    page = files[0].parent / "page.html"
    assert main(["explain", *map(str, files), "--profiles", "nnunet", "--html", str(page)]) == 0
    assert "label 5" in capsys.readouterr().out
    assert page.read_text().startswith("<!doctype html>")
    assert main(["explain", str(files[0]), str(files[1].parent / "no.nii.gz")]) == 2
    assert "error: " in capsys.readouterr().err
