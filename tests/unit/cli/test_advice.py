"""What `harness check` says of a case: facts, the hint with its mend, and the verdict at the end."""

import json
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from harness.challenge import load_challenge
from harness.cli.advice import advise, in_json, show_case, summary
from harness.results.records import LabelScoreRecord, Outcome, Prediction
from tests.unit.leaderboard.synthetic import Plan, make_run

PHANTOM = load_challenge("phantom")
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])  # LPS: the first axis runs from the patient's right to the left


@pytest.fixture
def reference():
    labels = np.zeros((24, 20, 12), np.uint8)
    labels[3:8, 4:12, 2:9], labels[15:20, 6:10, 3:7] = 2, 13
    return labels


def finished(folder, reference, prediction, *, outcome=Outcome.SUCCEEDED, log=""):
    """Return a run of one case as the evaluation leaves it, and the case."""
    made = make_run(Plan("mine", outcomes={0: outcome}), cases=1, folder=folder)
    (execution,) = made.executions
    place = folder / "cases" / execution.case
    place.mkdir(parents=True)
    (place / "container.log").write_text(log)
    label = folder / "reference.nii.gz"
    nib.save(nib.Nifti1Image(reference, AFFINE), label)
    scores = []
    if prediction is not None:
        path = Path("cases") / execution.case / "prediction.nii.gz"
        nib.save(nib.Nifti1Image(prediction, AFFINE), folder / path)
        kept = Prediction(path=str(path), sha256="a" * 64, size_bytes=1)
        execution = execution.model_copy(update={"prediction": kept})
        (score,) = made.scores
        rows = tuple(
            LabelScoreRecord(
                label=value,
                organ=PHANTOM.labels[value].name,
                scores={"dsc": 0.0, "nsd": 0.0},
                reference_ml=float((reference == value).sum()),
                prediction_ml=float((prediction == value).sum()),
            )
            for value in (2, 13)
        )
        scores = [score.model_copy(update={"scores": rows})]
    run = SimpleNamespace(
        folder=folder,
        record=made.record,
        scores=scores,
        final_executions=lambda: {execution.case: execution},
    )
    return run, [SimpleNamespace(id=execution.case, label=label)]


def only(run_and_cases):
    (advice,) = advise(*run_and_cases)
    return advice


@pytest.mark.parametrize(
    ("change", "rule", "words"),
    [
        (lambda labels: labels[::-1], "mirrored", "if left and right were swapped"),
        (lambda labels: labels[:, :, ::-1], "mirrored", "if head and feet were swapped"),
        (
            lambda labels: np.select([labels == 2, labels == 13], [13, 2]),
            "renamed",
            "2 were 13, 13 were 2",
        ),
        (np.zeros_like, "all-zero", "no label at all"),
    ],
)
def test_a_valid_prediction_that_is_wrong_is_told_how(tmp_path, reference, change, rule, words):
    prediction = np.ascontiguousarray(change(reference)).astype(np.uint8)
    advice = only(finished(tmp_path, reference, prediction))
    assert [hint.rule for hint in advice.hints] == [rule]
    assert words in advice.hints[0].message
    said = summary([advice], errors=[])
    assert said.startswith("this submission would be accepted, but look at this first")
    assert advice.hints[0].mend in said


def test_a_right_prediction_gets_no_hint(tmp_path, reference):
    advice = only(finished(tmp_path, reference, reference))
    assert advice.hints == []
    assert summary([advice], errors=[]) == "this submission would be accepted."


def test_a_case_without_a_label_proves_nothing(tmp_path, reference):
    empty = np.zeros_like(reference)
    advice = only(finished(tmp_path, empty, empty))
    assert [hint.rule for hint in advice.hints] == ["empty-case"]
    assert any("in neither volume" in line for line in advice.lines)


def test_a_failure_shows_its_log_its_hint_and_what_to_change_first(tmp_path, reference, capsys):
    log = "loading\npredict.sh: 2: set: Illegal option -o pipefail\n"
    advice = only(finished(tmp_path, reference, None, outcome=Outcome.CRASHED, log=log))
    show_case(advice, named=True)
    printed = capsys.readouterr()
    assert "hint bash:" in printed.out
    assert "Illegal option" in printed.err
    said = summary([advice], errors=[])
    assert said.startswith("this submission would not be accepted: 1 of 1 case(s) failed. Change first:")


def test_an_empty_log_is_said_to_be_empty(tmp_path, reference, capsys):
    show_case(only(finished(tmp_path, reference, None, outcome=Outcome.CRASHED)), named=False)
    assert "its log is empty" in capsys.readouterr().err


def test_an_error_of_the_image_alone_is_no_acceptance(tmp_path, reference):
    advice = only(finished(tmp_path, reference, reference))
    said = summary([advice], errors=["Add USER 65532."])
    assert (
        said
        == "this submission would not be accepted: 1 error(s) in the image. Change first: Add USER 65532."
    )


def test_json_holds_verdict_cases_and_hints(tmp_path, reference):
    advice = only(finished(tmp_path, reference, np.zeros_like(reference)))
    told = json.loads(in_json([advice], errors=[], verdict="said"))
    assert (told["accepted"], told["verdict"]) == (True, "said")
    assert told["cases"][0]["hints"][0]["rule"] == "all-zero"
