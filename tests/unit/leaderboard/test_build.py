"""From runs to rows: what is compared, what a failed case costs, and what is said about it."""

from __future__ import annotations

import json
from datetime import timedelta

import numpy as np
import pytest

from harness.challenge import load_challenge
from harness.leaderboard.files import to_csv, to_json
from harness.results.records import HostFacts, OptOuts, Outcome
from tests.unit.leaderboard.synthetic import HOST, Plan, build, make_run

PHANTOM = load_challenge("phantom")


def rank(*plans: Plan, cases: int = 12, annotated=None, **more):
    return build(
        [make_run(plan, cases=cases, annotated=annotated) for plan in plans],
        challenge=PHANTOM,
        bootstrap_samples=more.pop("bootstrap_samples", 50),
        **more,
    )


def only(leaderboard):
    assert len(leaderboard.divisions) == 1
    return leaderboard.divisions[0]


def row_of(division, team):
    return next(row for row in division.rows if row.team == team)


def test_a_better_faster_and_smaller_team_is_first():
    division = only(
        rank(Plan("slow", dsc=0.7, runtime_s=50), Plan("good", dsc=0.95, runtime_s=2, memory_bytes=10**9))
    )
    assert [(row.team, row.rank) for row in division.rows] == [("good", 1), ("slow", 2)]


def test_the_same_runs_in_another_order_give_the_same_leaderboard():
    plans = [Plan(f"team{index}", dsc=0.8 + 0.02 * index) for index in range(5)]
    assert to_json(rank(*plans)) == to_json(rank(*reversed(plans)))


def test_equal_teams_share_the_better_rank():
    run = make_run(Plan("first"))
    twin = type(run)(run.folder, run.record.model_copy(update={"team": "second"}), run.executions, run.scores)
    division = only(
        build(
            [run, twin, make_run(Plan("worse", dsc=0.5, runtime_s=100, memory_bytes=2**33))],
            challenge=PHANTOM,
        )
    )
    assert [row.rank for row in division.rows] == [1, 1, 3]
    assert [row.tie_group for row in division.rows] == [1, 1, 2]


@pytest.mark.parametrize("outcome", [outcome for outcome in Outcome if outcome is not Outcome.SUCCEEDED])
def test_a_failed_case_stays_in_the_denominator_at_the_worst_value(outcome):
    whole = row_of(only(rank(Plan("team"))), "team")
    failed = row_of(only(rank(Plan("team", outcomes={3: outcome}))), "team")
    assert (failed.failed, failed.cases) == (1, 12)
    assert failed.cells["dsc_organs"] < whole.cells["dsc_organs"]
    assert failed.metrics["runtime_s"] > 600 / 12
    assert failed.cells["runtime_p95_s"] == 600


def test_a_case_without_a_record_counts_as_failed():
    failed = row_of(only(rank(Plan("team", outcomes={3: Outcome.CRASHED}))), "team")
    missing = row_of(only(rank(Plan("team", missing=[3]))), "team")
    assert missing.failed == 1
    assert missing.cells["dsc_organs"] == pytest.approx(failed.cells["dsc_organs"], abs=0.01)
    assert missing.outcomes == {"succeeded": 11, "missing": 1}
    assert not missing.complete


def test_a_succeeded_case_without_scores_counts_as_failed():
    run = make_run(Plan("team"))
    unscored = type(run)(run.folder, run.record, run.executions, run.scores[:-1])
    row = only(build([unscored], challenge=PHANTOM)).rows[0]
    assert (row.failed, row.complete) == (1, False)


def test_whatever_is_scored_of_a_failed_case_it_counts_the_challenges_value():
    """A label that the reference lacks may be scored 1 even without a prediction."""
    run = make_run(Plan("team", outcomes={0: Outcome.CRASHED}))
    praised = make_run(Plan("team")).scores[0].model_copy(update={"prediction_sha256": None})
    flattered = type(run)(run.folder, run.record, run.executions, (praised, *run.scores))
    row = only(build([flattered], challenge=PHANTOM)).rows[0]
    plain = only(build([run], challenge=PHANTOM)).rows[0]
    assert (row.cells, row.failed) == (plain.cells, 1)


def test_a_score_of_an_earlier_prediction_does_not_count():
    run = make_run(Plan("team"))
    stale = run.scores[0].model_copy(update={"prediction_sha256": "d" * 64})
    row = only(
        build(
            [type(run)(run.folder, run.record, run.executions, (stale, *run.scores[1:]))], challenge=PHANTOM
        )
    ).rows[0]
    assert row.failed == 1


def test_the_last_attempt_of_a_case_counts():
    run = make_run(Plan("team", outcomes={0: Outcome.INFRASTRUCTURE}))
    good = make_run(Plan("team"))
    retried = type(run)(run.folder, run.record, (*run.executions, good.executions[0]), good.scores)
    assert only(build([retried], challenge=PHANTOM)).rows[0].failed == 0


def test_a_team_that_fails_everywhere_is_ranked_last_not_left_out():
    division = only(rank(Plan("good"), Plan("broken", outcomes=dict.fromkeys(range(12), Outcome.CRASHED))))
    row = row_of(division, "broken")
    assert (row.rank, row.failed, row.cells["dsc_organs"], row.metrics["runtime_s"]) == (2, 12, 0.0, 600.0)


def test_a_crash_does_not_make_a_team_fast():
    quick = row_of(only(rank(Plan("t", outcomes=dict.fromkeys(range(7), Outcome.CRASHED)))), "t")
    assert quick.cells["runtime_median_s"] == 600


def test_scores_are_means_over_cases_of_means_over_annotated_labels():
    annotated = {"case_000": (1, 2), "case_001": (14,)}
    run = make_run(Plan("team"), annotated=annotated)
    division = only(build([run], challenge=PHANTOM))
    organs = []
    for score in run.scores:
        values = [label.scores["dsc"] for label in score.scores if label.label <= 13 and label.scores]
        if values:
            organs.append(np.mean(values))
    assert len(organs) == 11
    assert division.rows[0].cells["dsc_organs"] == pytest.approx(np.mean(organs))


def test_a_failed_case_counts_only_the_labels_that_its_reference_annotates():
    annotated = {"case_000": (1, 2)}
    row = only(rank(Plan("team", outcomes={0: Outcome.CRASHED}), annotated=annotated)).rows[0]
    fine = only(rank(Plan("team"), annotated=annotated)).rows[0]
    assert row.cells["dsc_tumour"] == fine.cells["dsc_tumour"]
    assert row.cells["dsc_liver"] < fine.cells["dsc_liver"]


def test_the_newest_complete_run_of_a_team_is_taken():
    runs = [
        make_run(Plan("team", run="old", day=0)),
        make_run(Plan("team", run="new", day=1)),
        make_run(Plan("team", run="newest-but-cut-off", day=2, missing=[11])),
    ]
    assert only(build(runs, challenge=PHANTOM)).rows[0].run == "new"
    assert only(build(runs, challenge=PHANTOM, chosen_runs={"team": "old"})).rows[0].run == "old"
    assert only(build(runs[2:], challenge=PHANTOM)).rows[0].run == "newest-but-cut-off"


def test_runs_over_different_data_are_never_ranked_together():
    board = rank(Plan("a"), Plan("b"), Plan("a", fingerprint="e" * 64), Plan("c", profile="flare"))
    assert [[row.team for row in division.rows] for division in board.divisions] == [["a", "b"], ["a"], ["c"]]
    assert "not comparable" in board.notes[0]


@pytest.mark.parametrize(
    "change", [{"cpu_model": "Core i3"}, {"engine": "podman 5.0"}, {"cgroup_version": 1}]
)
def test_rows_from_unlike_hosts_are_not_ranked_on_time(change):
    other = HOST.model_copy(update=change)
    plans = (Plan("here"), Plan("there", host=other))
    division = only(rank(*plans))
    assert [item.metric.key for item in division.left_out] == ["runtime_s"]
    assert "unlike hosts" in " ".join(division.notes)
    assert {row.host_kind for row in division.rows} == {1, 2}

    asked = only(rank(*plans, across_hosts=True))
    assert not asked.left_out
    assert "as was asked" in " ".join(asked.notes)


def test_predictions_that_were_all_refused_came_to_a_verdict():
    refused = Plan("refused", source="predictions", outcomes=dict.fromkeys(range(12), Outcome.INVALID_OUTPUT))
    (row,) = only(rank(refused)).rows
    assert (row.complete, row.failed, "incomplete" in row.marks) == (True, 12, False)
    never_scored = Plan("never", source="predictions", missing=range(12))
    assert not only(rank(never_scored)).rows[0].complete


def test_an_engines_update_parts_no_rows():
    division = only(
        rank(Plan("before"), Plan("after", host=HOST.model_copy(update={"engine": "docker 27.4"})))
    )
    assert not division.left_out
    assert {row.host_kind for row in division.rows} == {1}


def test_a_record_without_a_cgroup_version_reads_and_is_a_host_of_its_own():
    old = HostFacts.model_validate(HOST.model_dump(exclude={"cgroup_version", "runtime"}))
    assert "cgroup" not in old.one_line()
    assert [item.metric.key for item in only(rank(Plan("old", host=old), Plan("new"))).left_out] == [
        "runtime_s"
    ]


def test_scored_predictions_have_no_time_and_stand_beside_the_competition():
    division = only(rank(Plan("run"), Plan("outside", dsc=0.99, source="predictions")))
    outside = row_of(division, "outside")
    measured = [outside.cells[key] for key in ("runtime_median_s", "peak_memory_bytes")]
    assert (outside.rank, measured) == (None, [None, None])
    assert outside.cells["dsc_organs"] > row_of(division, "run").cells["dsc_organs"]
    assert row_of(division, "run").rank == 1
    assert "outside" in " ".join(division.notes)


def test_scored_predictions_alone_are_ranked_on_accuracy():
    division = only(rank(Plan("a", dsc=0.8, source="predictions"), Plan("b", dsc=0.9, source="predictions")))
    assert [(row.team, row.rank) for row in division.rows] == [("b", 1), ("a", 2)]
    assert {item.metric.key for item in division.left_out} == {"runtime_s", "peak_working_set_bytes"}


def test_a_host_without_a_gpu_uses_no_device_memory():
    flare = load_challenge("flare22")
    division = only(build([make_run(Plan("cpu"), challenge=flare)], challenge=flare))
    assert division.rows[0].cells["peak_gpu_memory_bytes"] == 0
    assert not division.left_out


def test_marks_say_what_a_row_gave_up():
    plan = Plan(
        "t",
        opt_outs=OptOuts(requires_root=True, writable_root=True),
        host=HOST.model_copy(update={"isolated": False}),
    )
    assert only(rank(plan)).rows[0].marks == ("requires_root", "writable_root", "not_isolated")


def test_the_interval_holds_the_rank_and_depends_on_the_seed_alone():
    plans = [Plan(f"t{index}", dsc=0.85 + 0.002 * index) for index in range(6)]
    first = rank(*plans, bootstrap_samples=300)
    assert to_json(first) == to_json(rank(*plans, bootstrap_samples=300))
    for row in only(first).rows:
        assert row.rank_low <= row.rank <= row.rank_high


def test_no_samples_means_no_interval():
    row = only(rank(Plan("t"), bootstrap_samples=0)).rows[0]
    assert (row.rank, row.rank_low, row.rank_high) == (1, None, None)


def test_no_runs_give_an_empty_leaderboard():
    board = build([], challenge=PHANTOM)
    assert board.divisions == ()
    assert json.loads(to_json(board))["divisions"] == []
    assert to_csv(board) == ""


def test_time_is_created_at_of_the_run():
    assert only(rank(Plan("t", day=3))).rows[0].created_at - only(rank(Plan("t"))).rows[
        0
    ].created_at == timedelta(days=3)


def test_an_unusual_runtime_is_part_of_what_a_row_says_of_its_host():
    assert "runtime" not in HOST.one_line()
    assert HOST.model_copy(update={"runtime": "runsc"}).one_line() == f"{HOST.one_line()}, runtime runsc"
