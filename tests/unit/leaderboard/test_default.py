"""The embedded challenge at first sight: accuracy decides, and nothing that achieved nothing looks good."""

from __future__ import annotations

import io

import numpy as np
import pytest
from rich.console import Console

from harness.challenge import Challenge, load_challenge
from harness.leaderboard import render_terminal
from harness.leaderboard.columns import all_columns
from harness.leaderboard.files import to_latex, to_markdown
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, Results, build, make_run

PHANTOM = load_challenge("phantom")
MIB = 1024**2
TUMOUR = 14
LACKING = (1, 4)
"""Cases whose references hold no tumour."""


def with_label(run: Results, label: int, case: int, *, score: float, ml: tuple[float, float]) -> Results:
    """Return a run whose label of a case has another score and other volumes (reference, prediction)."""
    scores = list(run.scores)
    record = scores[case]
    changed = [
        row.model_copy(
            update={
                "scores": dict.fromkeys(row.scores, score),
                "dsc": score,
                "nsd": score,
                "reference_ml": ml[0],
                "prediction_ml": ml[1],
            }
        )
        if row.label == label
        else row
        for row in record.scores
    ]
    scores[case] = record.model_copy(update={"scores": tuple(changed)})
    return Results(run.folder, run.record, run.executions, tuple(scores))


def tumour(run: Results, dsc: float, *, alarms_ml: float = 0.0) -> Results:
    """Return a run that finds tumours so well, where there are none that much of one."""
    for case in range(len(run.scores)):
        if case in LACKING:
            score = 0.0 if alarms_ml else 1.0
            run = with_label(run, TUMOUR, case, score=score, ml=(0.0, alarms_ml))
        else:
            run = with_label(run, TUMOUR, case, score=dsc, ml=(3.0, 3.0 * dsc))
    return run


def newcomers() -> list[Results]:
    """Three methods: one finds some tumour, one is fast and poor, one has no tumours."""
    return [
        tumour(make_run(Plan("small_unet", dsc=0.95, runtime_s=2.6, memory_bytes=487 * MIB), cases=6), 0.2),
        tumour(
            make_run(Plan("distilled_student", dsc=0.70, runtime_s=1.0, memory_bytes=315 * MIB), cases=6),
            0.0,
            alarms_ml=0.04,
        ),
        tumour(make_run(Plan("cascade", dsc=0.94, runtime_s=2.4, memory_bytes=426 * MIB), cases=6), 0.0),
    ]


def board(runs: list[Results], **scheme: object):
    challenge = PHANTOM
    if scheme:
        content = PHANTOM.model_dump(mode="json")
        challenge = Challenge.model_validate(content | {"ranking": content["ranking"] | scheme})
    return build(runs, challenge=challenge, bootstrap_samples=100)


def rows(runs: list[Results], **scheme: object):
    return {row.team: row for row in board(runs, **scheme).divisions[0].rows}


def test_accuracy_orders_the_shipped_methods():
    assert list(rows(newcomers())) == ["small_unet", "cascade", "distilled_student"]


def test_time_and_memory_that_nobody_pays_for_are_no_difference():
    slow = tumour(make_run(Plan("a", dsc=0.9, runtime_s=4, memory_bytes=1000 * MIB), cases=6), 0.5)
    fast = Results(
        slow.folder,
        slow.record.model_copy(update={"team": "b"}),
        make_run(Plan("a", runtime_s=0.5, memory_bytes=100 * MIB), cases=6).executions,
        slow.scores,
    )
    assert {row.rank for row in rows([slow, fast]).values()} == {1}


def test_costs_above_the_tolerance_decide_among_equals():
    slow = tumour(make_run(Plan("a", dsc=0.9, runtime_s=300), cases=6), 0.5)
    fast = Results(
        slow.folder,
        slow.record.model_copy(update={"team": "b"}),
        make_run(Plan("a", runtime_s=20), cases=6).executions,
        slow.scores,
    )
    assert [row.team for row in board([slow, fast]).divisions[0].rows] == ["b", "a"]


def test_a_tumour_that_is_not_there_is_no_success_and_counts_for_nobody():
    cascade = rows(newcomers())["cascade"]
    assert cascade.cells["dsc_tumour"] == 0.0
    assert cascade.estimates["dsc_tumour"].n == 4


def test_false_alarms_stand_beside_the_score():
    found = rows(newcomers())
    assert found["distilled_student"].cells["false_alarms_tumour"] == 2
    assert found["distilled_student"].cells["false_alarms_ml_tumour"] == pytest.approx(0.08)
    assert found["cascade"].cells["false_alarms_tumour"] == 0
    assert "tumour false alarms" in to_markdown(board(newcomers()))


@pytest.mark.parametrize(
    ("both_empty", "cascade", "student"),
    [("not counted", 0.0, 0.0), (1, 2 / 6, 0.0), ("nan", 2 / 6, 0.0), (float("nan"), 2 / 6, 0.0)],
)
def test_what_an_absent_label_counts_is_the_challenges_choice(both_empty, cascade, student):
    found = rows(newcomers(), both_empty=both_empty)
    assert found["cascade"].cells["dsc_tumour"] == pytest.approx(cascade)
    assert found["distilled_student"].cells["dsc_tumour"] == student


def test_nan_leaves_out_a_case_in_which_nobody_raised_a_false_alarm():
    quiet = [run for run in newcomers() if run.record.team != "distilled_student"]
    assert rows(quiet, both_empty="nan")["cascade"].estimates["dsc_tumour"].n == 4
    assert rows(quiet, both_empty=1)["cascade"].estimates["dsc_tumour"].n == 6


def test_an_all_zero_map_is_behind_a_poor_method_and_nowhere_best():
    poor = tumour(make_run(Plan("poor", dsc=0.35, runtime_s=40, memory_bytes=3000 * MIB), cases=6), 0.0)
    zero = make_run(Plan("zero", runtime_s=0.2, memory_bytes=30 * MIB), cases=6)
    for case in range(6):
        for label in range(1, 15):
            absent = label == 2 and case in LACKING
            ml = (0.0 if absent else 10.0, 0.0)
            zero = with_label(zero, label, case, score=1.0 if absent else 0.0, ml=ml)
            if absent:
                poor = with_label(poor, label, case, score=1.0, ml=(0.0, 0.0))
    leaderboard = board([poor, tumour(zero, 0.0)])
    ranked = leaderboard.divisions[0].rows
    assert [(row.team, row.rank) for row in ranked] == [("poor", 1), ("zero", 2)]
    row = ranked[1]
    assert row.cells["dsc_organs"] == 0.0
    assert not any(column.can_be_best(row) for column in all_columns(PHANTOM))


def crashed() -> list[Results]:
    dead = Plan(
        "dead", runtime_s=0.03, memory_bytes=4 * MIB, outcomes=dict.fromkeys(range(6), Outcome.CRASHED)
    )
    return [tumour(make_run(Plan("alive"), cases=6), 0.0), make_run(dead, cases=6)]


def test_a_team_that_crashed_is_best_in_nothing_and_its_penalty_is_no_measurement():
    leaderboard = board(crashed())
    found = {row.team: row for row in leaderboard.divisions[0].rows}
    assert not any(column.can_be_best(found["dead"]) for column in all_columns(PHANTOM))
    line = next(line for line in to_markdown(leaderboard).splitlines() if "| dead |" in line)
    assert "600" not in line
    assert "4 MiB" not in line
    assert found["dead"].cells["runtime_median_s"] == 600  # as it is ranked, in the files


def test_no_zero_is_green():
    console = Console(width=250, file=io.StringIO(), color_system="standard", force_terminal=True)
    render_terminal(board(crashed()), console)
    line = next(line for line in console.file.getvalue().splitlines() if "alive" in line)
    assert "\x1b[1;32m0.00" not in line
    assert "\x1b[1;32m" in line


def test_a_quantile_that_is_a_penalty_has_a_dagger():
    some = make_run(Plan("some", outcomes=dict.fromkeys(range(2), Outcome.CRASHED)), cases=6)
    text = to_markdown(board([some]))
    row = next(line for line in text.splitlines() if "| some |" in line)
    assert "600 s†" in row
    assert "†: is or holds what the challenge charges" in text


def test_memory_is_ranked_without_the_cache_of_files():
    """The same method, once with a cold cache: ranks and the compared column do not see it."""
    warm = tumour(make_run(Plan("a", memory_bytes=3000 * MIB), cases=6), 0.5)
    cold = tuple(
        execution.model_copy(
            update={"usage": execution.usage.model_copy(update={"peak_memory_bytes": 7000 * MIB})}
        )
        for execution in warm.executions
    )
    twin = Results(warm.folder, warm.record.model_copy(update={"team": "b"}), cold, warm.scores)
    found = rows([warm, twin])
    assert {row.rank for row in found.values()} == {1}
    assert found["a"].cells["peak_working_set_bytes"] == found["b"].cells["peak_working_set_bytes"]
    titles = {column.key: (column.title, column.compared) for column in all_columns(PHANTOM)}
    assert titles["peak_working_set_bytes"] == ("memory", True)
    assert titles["peak_memory_bytes"] == ("memory with cache", False)


def test_few_cases_are_said_to_show_nothing():
    (division,) = board(newcomers()).divisions
    assert any("over 6 cases" in note and "takes 7" in note for note in division.notes)
    enough = [make_run(Plan(team, dsc=dsc)) for team, dsc in (("a", 0.9), ("b", 0.8), ("c", 0.7))]
    (division,) = board(enough).divisions
    assert any("smaller than these are not told apart" in note for note in division.notes)


def test_a_mean_stands_with_its_interval_and_its_number_of_cases():
    leaderboard = board(newcomers())
    row = rows(newcomers())["small_unet"]
    estimate = row.estimates["dsc_organs"]
    assert estimate.n == 6
    assert estimate.bca[0] < estimate.mean < estimate.bca[1]
    assert "DSC organs % n=6" in to_markdown(leaderboard)
    assert "DSC tumour % n=4" in to_markdown(leaderboard)


def test_the_probabilities_of_being_first_add_up_to_one():
    assert sum(row.p_first for row in rows(newcomers()).values()) == pytest.approx(1)


def test_latex_is_a_table_whose_names_are_text():
    runs = newcomers()
    runs[0] = Results(
        runs[0].folder,
        runs[0].record.model_copy(update={"team": "50%_&{a}"}),
        runs[0].executions,
        runs[0].scores,
    )
    text = to_latex(board(runs))
    assert r"50\%\_\&\{a\}" in text
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].splitlines()[1:]
    header = next(line for line in text.splitlines() if " team " in line)
    assert {line.count("&") - line.count(r"\&") for line in body} == {header.count("&")}
    assert r"\textbf{" in text


def test_volumes_of_references_are_known_to_every_reader():
    (division,) = board(newcomers()).divisions
    place = division.values[0].labels.index(TUMOUR)
    assert division.counting.absent[:, place].tolist() == [case in LACKING for case in range(6)]
    assert np.nansum(division.values[0].reference_ml[:, place]) == pytest.approx(12.0)
