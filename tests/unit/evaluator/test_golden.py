"""The scores of real pairs, computed beforehand with surface-distance and with FLARE24's official rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from evaluator import LABEL_TABLES, score_folder


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
