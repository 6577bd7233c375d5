"""The tables as text: rounded on screen, raw in files, and safe whatever a team calls itself."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from rich.console import Console

from harness import text
from harness.challenge import Challenge, load_challenge
from harness.leaderboard import render_terminal, write_files
from harness.leaderboard.columns import all_columns, shown_columns
from harness.leaderboard.files import to_csv, to_json, to_markdown
from harness.results.records import Outcome
from tests.unit.leaderboard.synthetic import Plan, build, make_run

PHANTOM = load_challenge("phantom")
HOSTILE = "[red]=cmd|'/C calc'!A1 <b>\x1b[31m\u202e"


def board(*plans: Plan):
    return build([make_run(plan) for plan in plans], challenge=PHANTOM, bootstrap_samples=20)


def shown(leaderboard, width=200, **more) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    render_terminal(leaderboard, console, **more)
    return console.file.getvalue()


def test_means_show_their_interval_and_costs_their_ratio_to_the_best():
    output = shown(board(Plan("good", dsc=0.9, runtime_s=5), Plan("slow", dsc=0.6, runtime_s=50)))
    good, slow = (next(line for line in output.splitlines() if name in line) for name in ("good", "slow"))
    assert "(" not in good
    assert good.count("[") == slow.count("[") == 4
    assert "(9." in slow or "(1" in slow


def test_a_ratio_that_only_tells_of_the_best_rows_failure_is_not_shown():
    output = shown(board(Plan("good", runtime_s=50), Plan("quick", dsc=0.3, runtime_s=0.001)))
    line = next(line for line in output.splitlines() if "good" in line)
    assert not re.search(r"\(\d{3,}\)", line)


def test_a_failed_case_is_counted_in_the_table():
    assert "1/12" in shown(board(Plan("team", outcomes={1: Outcome.CRASHED})))


def test_organs_are_shown_on_request():
    leaderboard = board(Plan("team"))
    assert "pancreas" not in shown(leaderboard)
    assert "pancreas" in shown(leaderboard, per_organ=True)


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_row_is_broken(width):
    output = shown(board(Plan("a-team-with-quite-a-long-name"), Plan("b")), width=width)
    assert max(map(len, output.splitlines())) <= width
    rows = [line for line in output.splitlines() if line.lstrip().startswith(("1 ", "2 "))]
    assert len(rows) == 2


def test_columns_that_do_not_fit_are_named():
    output = shown(board(Plan("team"), Plan("other")), width=80)
    assert "Not shown for want of width" in output
    assert "DSC organs" in output


def test_names_cannot_style_or_steer_the_terminal():
    output = shown(board(Plan(HOSTILE)))
    assert "[red]" in output
    assert "\x1b" not in output
    assert "\u202e" not in output


def test_an_empty_leaderboard_says_so():
    assert "no runs" in shown(build([], challenge=PHANTOM))


def test_csv_holds_raw_values_and_no_formula():
    leaderboard = board(Plan("=1+1", title="@sum"), Plan("plain"))
    rows = list(csv.DictReader(io.StringIO(to_csv(leaderboard))))
    assert {row["team"] for row in rows} == {"'=1+1", "plain"}
    first = leaderboard.divisions[0].rows[0]
    assert float(rows[0]["dsc_organs"]) == first.cells["dsc_organs"]
    assert float(rows[0]["runtime_p95_s"]) == first.cells["runtime_p95_s"]


def test_json_holds_what_the_rows_hold():
    leaderboard = board(Plan("a"), Plan("b"))
    content = json.loads(to_json(leaderboard))
    row = leaderboard.divisions[0].rows[0]
    assert content["divisions"][0]["rows"][0]["organ_nsd"]["liver"] == row.cells["nsd_liver"]
    assert content["seed"] == leaderboard.seed


def test_markdown_keeps_its_table_whatever_a_name_holds():
    output = to_markdown(board(Plan("a|b\n# c <script>")))
    table = [line for line in output.splitlines() if line.startswith("|")]
    assert len(table) == 3
    assert "<script>" not in output


def test_files_are_written_together(tmp_path):
    paths = write_files(board(Plan("a")), tmp_path / "new")
    assert [path.name for path in paths] == ["leaderboard.json", "leaderboard.csv", "leaderboard.md"]
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted(path.name for path in paths)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "–"),
        (0.0, "0.00 s"),
        (9.994, "9.99 s"),
        (12.34, "12.3 s"),
        (600.0, "600 s"),
        (3600.0, "3,600 s"),
    ],
)
def test_times_read_with_three_figures(value, expected):
    assert text.seconds(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"), [(None, "–"), (0, "0"), (300 * 1024**2, "300 MiB"), (2 * 1024**3, "2.00 GiB")]
)
def test_sizes_read_in_binary_units(value, expected):
    assert text.size(value) == expected


def test_every_column_is_in_every_file_and_table():
    """A column is one entry: whatever is in the list is filled and printed everywhere."""
    ranked = {"metrics": [{"metric": "assd", "labels": "organs"}, {"metric": "dsc", "labels": "tumour"}]}
    content = PHANTOM.model_dump(mode="json") | {"ranking": ranked}
    challenge = Challenge.model_validate(content)
    plans = [Plan("a", outcomes={1: Outcome.CRASHED}), Plan("b")]
    leaderboard = build([make_run(plan, challenge=challenge) for plan in plans], challenge=challenge)
    (row,) = [row for row in leaderboard.divisions[0].rows if row.team == "a"]
    header = to_csv(leaderboard).splitlines()[0].split(",")
    for column in all_columns(challenge):
        assert column.key in row.cells
        assert column.key in header
    for column in shown_columns(challenge, leaderboard.divisions[0].rows):
        heading = text.markdown_text(column.heading(leaderboard.divisions[0].rows))
        assert f" {heading} |" in to_markdown(leaderboard)
        assert column.title in shown(leaderboard, width=300)
    assert row.cells["assd_mm_organs"] == float("inf")
    stored = json.loads(to_json(leaderboard))["divisions"][0]["rows"]
    assert {line["team"]: line["assd"]["organs"] for line in stored}["a"] == "inf"
    assert "∞" in to_markdown(leaderboard)
