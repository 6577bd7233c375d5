"""The scores of real pairs, computed beforehand with surface-distance and with FLARE24's official rules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluator import LABEL_TABLES, CaseScore, Label, LabelTable, Scoring, profile_named, score_folder


@pytest.mark.parametrize(
    ("profile", "key", "largest_error"), [("exact", "exact", 1e-12), ("flare", "flare24_task2", 0)]
)
def test_golden_scores(shared_data: Path, profile: str, key: str, largest_error: float) -> None:
    golden = shared_data / "golden"
    expected = json.loads((golden / "expected.json").read_text())
    scores = {
        score.case: {label.column: label for label in score.labels}
        for score in score_folder(
            golden / "labels", golden / "predictions", labels=LABEL_TABLES["flare24-task2"], profile=profile
        )
    }
    assert scores.keys() == expected.keys()
    for case, record in expected.items():
        for organ, (dsc, nsd) in record[key].items():
            found = scores[case][organ]
            if dsc == "crash":
                assert "crashes" in found.note
                continue
            assert found.dsc == dsc, (case, organ)
            assert abs(found.nsd - nsd) <= largest_error, (case, organ)


TOOL = "surface-distance@1f805ce"
DISTANCES = (("hd95", "hd95"), ("masd", "masd"), ("assd", "assd_area_weighted"))
"""Our keys, and the tool's."""


def assert_distances(score: CaseScore, expected: Mapping[str, Mapping[str, Any]]) -> int:
    """Hold every label that both volumes have against the tool, and return how many there are."""
    compared = 0
    for label in score.labels:
        if not (label.reference_ml and label.prediction_ml and str(label.label) in expected):
            continue
        for key, theirs in DISTANCES:
            value = float(expected[str(label.label)][theirs])
            assert label.scores[key] == pytest.approx(value, rel=1e-9, abs=1e-9), (score.case, label, key)
        compared += 1
    return compared


@pytest.mark.parametrize("golden", ["golden", "golden_lesions"])
def test_golden_distances(shared_data: Path, golden: str) -> None:
    name = "expected_golden.json" if golden == "golden" else "expected.json"
    cases = json.loads((shared_data / "golden_lesions" / name).read_text())["cases"]
    labels = LabelTable("any", tuple(Label(value, f"label {value}", 2.0) for value in range(1, 256)))
    # The tool took the spacing as the files store it.
    rules = replace(profile_named("exact", "any"), mends_spacing=False)
    scoring = Scoring(labels, profile=rules, metrics=tuple(key for key, _ in DISTANCES))
    folder = shared_data / golden
    scores = {score.case: score for score in score_folder(folder / "labels", folder / "predictions", scoring)}
    assert scores.keys() == cases.keys()
    compared = sum(
        assert_distances(scores[case], (record if golden == "golden" else record["values"])[TOOL])
        for case, record in cases.items()
    )
    assert compared >= 25
