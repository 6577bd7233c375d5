"""Scores of a run: made again, made anew, of predictions made elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from process_runs import labels, run, write

from harness.challenge import Challenge
from harness.data.dataset import Dataset
from harness.errors import ConfigurationError, InfrastructureError
from harness.results.records import Outcome
from harness.run.request import EvaluationRequest
from harness.scoring.predictions import PredictionsRequest, score_predictions
from harness.scoring.score import score_run
from harness.scoring.verify import verify_run


def test_scores_are_made_again_without_running(
    request_for: Callable[..., EvaluationRequest], dataset: Dataset
) -> None:
    results = run(replace(request_for(), score=False))
    assert results.scores == ()
    scored = score_run(results.folder, dataset, profile="flare")
    assert set(scored.final_scores("flare")) == {"a", "b"}
    assert score_run(results.folder, dataset, profile="flare") == scored
    assert len(score_run(results.folder, dataset, profile="flare", again=True).scores) == 4


def test_a_corrected_reference_is_scored_anew(
    request_for: Callable[..., EvaluationRequest], dataset: Dataset
) -> None:
    results = run(request_for())
    assert dataset.cases[0].label is not None
    write(dataset.cases[0].label, labels()[::-1])
    again = score_run(results.folder, dataset)
    cases = [score.case for score in again.scores]
    assert (sorted(cases[:2]), cases[2:]) == (["a", "b"], ["a"])
    assert again.final_scores("exact")["a"].scores[0].scores["dsc"] != 1.0


def test_scoring_needs_the_runs_own_cases(
    request_for: Callable[..., EvaluationRequest], dataset: Dataset
) -> None:
    results = run(request_for())
    with pytest.raises(ConfigurationError, match="such as b"):
        score_run(results.folder, dataset.select(["a"]))


def test_a_prediction_that_went_missing_is_not_scored_as_zero(
    request_for: Callable[..., EvaluationRequest], dataset: Dataset
) -> None:
    results = run(request_for())
    assert results.executions[0].prediction is not None
    (results.folder / results.executions[0].prediction.path).unlink()
    with pytest.raises(InfrastructureError, match="gone or changed"):
        score_run(results.folder, dataset, again=True)
    assert [problem.what for problem in verify_run(results.folder).problems] == ["the prediction is missing"]


def test_predictions_made_elsewhere_become_a_run(
    tmp_path: Path, dataset: Dataset, challenge: Challenge
) -> None:
    folder = tmp_path / "elsewhere"
    write(folder / "a.nii.gz", labels())
    request = PredictionsRequest(
        team="outside", folder=folder, challenge=challenge, dataset=dataset, results=tmp_path / "results"
    )
    results = score_predictions(request)
    assert results.record.source == "predictions"
    final = results.final_executions()
    assert (final["a"].outcome, final["b"].outcome) == (Outcome.SUCCEEDED, Outcome.NO_OUTPUT)
    assert final["a"].stages.run_s is None
    assert final["a"].usage.peak_memory_bytes is None
    scores = results.final_scores("exact")
    assert (scores["a"].scores[0].scores["dsc"], scores["b"].scores[0].scores) == (1.0, {})
    assert score_predictions(request) == results
    assert verify_run(results.folder, dataset=dataset).problems == []


def test_a_folder_without_predictions_is_refused(
    tmp_path: Path, dataset: Dataset, challenge: Challenge
) -> None:
    folder = tmp_path / "empty"
    folder.mkdir()
    request = PredictionsRequest(
        team="outside", folder=folder, challenge=challenge, dataset=dataset, results=tmp_path / "results"
    )
    with pytest.raises(ConfigurationError, match=r"no prediction .*such as a\.nii\.gz"):
        score_predictions(request)
    with pytest.raises(ConfigurationError, match="does not exist"):
        score_predictions(replace(request, folder=tmp_path / "nowhere"))
