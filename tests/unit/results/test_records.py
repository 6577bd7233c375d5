"""Score lines of version 1 are read as if they were version 2; what a case was charged is not taken for a score."""

from __future__ import annotations

import json
import math

import pytest
from pydantic import ValidationError

from harness.results.records import LabelScoreRecord, ScoreRecord

LABEL = {"label": 1, "organ": "liver", "dsc": 0.9, "nsd": 0.8, "reference_ml": 10.0, "prediction_ml": 9.0}
LINE = {
    "schema_version": 1,
    "case": "a",
    "profile": "exact",
    "evaluator_version": "0.1",
    "prediction_sha256": "a" * 64,
    "reference_sha256": "b" * 64,
    "scores": [LABEL | {"hd95_mm": None, "assd_mm": None, "note": ""}],
    "notes": [],
    "previous_sha256": "0" * 64,
    "sha256": "1" * 64,
}


def read(line: dict[str, object]) -> ScoreRecord:
    return ScoreRecord.model_validate_json(json.dumps(line))


def test_fields_become_scores_by_key():
    record = read(LINE)
    assert (record.schema_version, record.usable, record.sha256) == (2, True, "1" * 64)
    assert record.scores[0].scores == {"dsc": 0.9, "nsd": 0.8}
    assert read(LINE | {"scores": [LABEL | {"assd_mm": 1.5}]}).scores[0].scores["masd"] == 1.5


def test_what_a_failed_case_was_charged_is_no_score():
    failed = LABEL | {"dsc": 0.0, "nsd": 0.0, "note": "no prediction"}
    record = read(LINE | {"prediction_sha256": None, "scores": [failed]})
    assert (record.usable, record.scores[0].scores) == (False, {})


def test_a_label_that_was_not_annotated_has_none():
    bare = LABEL | {"dsc": None, "nsd": None, "note": "not annotated"}
    assert read(LINE | {"scores": [bare, LABEL]}).scores[0].scores == {}


def test_an_unknown_version_is_refused():
    with pytest.raises(ValidationError):
        read(LINE | {"schema_version": 3})


def test_infinite_distances_survive_json():
    label = LabelScoreRecord(label=1, organ="liver", scores={"hd95": math.inf, "masd": None})
    stored = json.dumps(label.model_dump(mode="json"), allow_nan=False)
    assert LabelScoreRecord.model_validate_json(stored) == label
