"""What a case counts: failed values are charged here and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from harness.challenge import Challenge, load_challenge
from harness.leaderboard.counting import counting
from harness.leaderboard.reading import wanted_of
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, Results, build, make_run, values_of

METRICS = [
    {"metric": "dsc", "labels": "organs"},
    {"metric": "hd95", "labels": "organs", "failed": 374},
    {"metric": "runtime_s"},
]


@pytest.fixture
def challenge() -> Challenge:
    phantom = load_challenge("phantom").model_dump(mode="json")
    return Challenge.model_validate(phantom | {"ranking": {"metrics": METRICS}})


def with_scores(run: Results, case: int, **scores: float | None) -> Results:
    """Return a run whose first label of a case has other scores."""
    record = run.scores[case]
    first = record.scores[0].model_copy(update={"scores": record.scores[0].scores | scores})
    changed = record.model_copy(update={"scores": (first, *record.scores[1:])})
    return Results(
        run.folder, run.record, run.executions, (*run.scores[:case], changed, *run.scores[case + 1 :])
    )


def first_label(challenge: Challenge, *runs: Results) -> list[list[float]]:
    """Return the HD95 that the first label counts in each case, a list per run."""
    values = [values_of(run, wanted_of(challenge)) for run in runs]
    rules = counting(values, challenge, challenge.ranking)
    return [rules.label_values(run, "hd95")[:, 0].tolist() for run in values]


def test_a_label_that_is_infinitely_far_off_counts_the_failed_value(challenge):
    run = with_scores(make_run(Plan("a"), challenge=challenge, cases=3), 1, hd95=np.inf)
    assert first_label(challenge, run)[0][1] == 374


def test_a_failed_case_counts_the_failed_value_whatever_the_scores_hold(challenge):
    run = make_run(Plan("a", outcomes={1: Outcome.CRASHED}), challenge=challenge, cases=3)
    assert first_label(challenge, run)[0][1] == 374


def test_a_label_in_neither_volume_counts_the_best_where_another_team_predicted_it(challenge):
    right = with_scores(make_run(Plan("right"), challenge=challenge, cases=3), 1, hd95=None)
    wrong = with_scores(make_run(Plan("wrong"), challenge=challenge, cases=3), 1, hd95=np.inf)
    counted = first_label(challenge, right, wrong)
    assert (counted[0][1], counted[1][1]) == (0.0, 374)


def test_a_label_that_nobody_has_a_value_of_does_not_count(challenge):
    runs = [
        with_scores(make_run(Plan(team), challenge=challenge, cases=3), 1, hd95=None) for team in ("a", "b")
    ]
    assert all(np.isnan(values[1]) for values in first_label(challenge, *runs))


def test_a_prediction_that_could_not_be_compared_counts_as_failed(challenge):
    run = make_run(Plan("a"), challenge=challenge, cases=3)
    empty = tuple(label.model_copy(update={"scores": {}}) for label in run.scores[1].scores)
    useless = run.scores[1].model_copy(update={"usable": False, "scores": empty})
    changed = Results(run.folder, run.record, run.executions, (run.scores[0], useless, run.scores[2]))
    assert first_label(challenge, changed)[0][1] == 374
    row = build([changed], challenge=challenge).divisions[0].rows[0]
    assert row.cells["dsc_liver"] < build([run], challenge=challenge).divisions[0].rows[0].cells["dsc_liver"]


def test_scores_from_before_a_metric_was_wanted_are_said_to_lack_it(challenge):
    old = make_run(Plan("old"), challenge=load_challenge("phantom"), cases=3)
    new = make_run(Plan("new"), challenge=challenge, cases=3)
    (division,) = build([old, new], challenge=challenge).divisions
    assert "No score of old holds hd95" in " ".join(division.notes)
    assert first_label(challenge, old, new)[0] == [374, 374, 374]
    (alone,) = build([old], challenge=challenge).divisions
    assert [item.metric.key for item in alone.left_out] == ["hd95:organs"]


def test_runs_from_before_the_labels_were_changed_are_named():
    content = load_challenge("phantom").model_dump(mode="json") | {"label_table": None}
    tight = [
        {"value": 1, "name": "liver", "tolerance_mm": 1},
        {"value": 14, "name": "tumor", "tolerance_mm": 1},
    ]
    groups = {"organs": [1], "tumour": [14]}
    changed = Challenge.model_validate(content | {"labels": tight, "label_groups": groups})
    runs = [make_run(Plan("old"), cases=3), make_run(Plan("new"), challenge=changed, cases=3)]
    (division,) = build(runs, challenge=changed).divisions
    assert "Scored under other labels or tolerances than are here now: old." in division.notes


def test_a_time_that_no_limit_was_named_for_is_charged_the_limit(challenge):
    assert next(m.failed for m in challenge.ranking.metrics if m.measured) == challenge.limits.time_s
