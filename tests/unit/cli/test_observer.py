"""What the console says while cases are scored."""

from __future__ import annotations

from harness.cli.observer import score_line
from harness.results.records import LabelScoreRecord, ScoreRecord


def _score(*labels: tuple[int, float, float]) -> ScoreRecord:
    """Return a case's score of (label, Dice, reference ml)."""
    return ScoreRecord(
        case="case_1",
        profile="exact",
        evaluator_version="0",
        prediction_sha256="a" * 64,
        reference_sha256="c" * 64,
        scores=tuple(
            LabelScoreRecord(label=label, organ=f"organ {label}", scores={"dsc": dsc}, reference_ml=ml)
            for label, dsc, ml in labels
        ),
    )


def test_a_label_in_neither_volume_is_no_part_of_a_cases_mean():
    assert "DSC 40.0 %" in score_line(_score((1, 0.6, 20.0), (2, 0.2, 5.0), (3, 1.0, 0.0)))


def test_an_empty_prediction_of_a_case_without_any_label_scores_nothing():
    assert "the reference holds no label" in score_line(_score((1, 1.0, 0.0)))


def test_a_case_that_annotates_nothing_is_called_that():
    assert "no label is annotated" in score_line(_score())
