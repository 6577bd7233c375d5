"""Means over parts of the cases, told by a table of them."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from harness.challenge import load_challenge
from harness.errors import ConfigurationError
from harness.leaderboard import render_terminal
from harness.leaderboard.files import to_json, to_markdown
from harness.leaderboard.subgroups import check_cases, read_case_table, unknown_cases
from tests.unit.leaderboard.synthetic import Plan, build, make_run

PHANTOM = load_challenge("phantom")
CASES = 9


def table(tmp_path, *lines: str):
    path = tmp_path / "cases.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


def parts(tmp_path, *lines: str):
    runs = [make_run(Plan(team, dsc=dsc), cases=CASES) for team, dsc in (("a", 0.9), ("b", 0.8))]
    board = build(
        runs, challenge=PHANTOM, bootstrap_samples=50, case_table=read_case_table(table(tmp_path, *lines))
    )
    return board, {(part.column, part.value): part for part in board.divisions[0].subgroups}


def test_words_make_a_subgroup_each(tmp_path):
    board, found = parts(
        tmp_path,
        "case,scanner",
        *(f"case_{index:03d},{'GE' if index < 4 else 'Siemens'}" for index in range(CASES)),
    )
    assert [(part.column, part.value, part.cases) for part in found.values()] == [
        ("scanner", "GE", 4),
        ("scanner", "Siemens", 5),
    ]
    ge = found["scanner", "GE"].means["dsc:organs"]
    table_ = board.divisions[0].analysis.table
    assert [estimate.n for estimate in ge] == [4, 4]
    assert ge[0].mean == pytest.approx(table_.values[0, :4, 0].mean())
    assert ge[0].bca[0] <= ge[0].mean <= ge[0].bca[1]


def test_numbers_of_many_values_are_cut_into_thirds(tmp_path):
    _, found = parts(tmp_path, "Case;Age", *(f"case_{index:03d};{20 + 5 * index}" for index in range(CASES)))
    assert [part.cases for part in found.values()] == [3, 3, 3]


def test_large_bounds_are_written_as_whole_numbers(tmp_path):
    _, found = parts(
        tmp_path, "case,dose", *(f"case_{index:03d},{1000 + 500.5 * index}" for index in range(CASES))
    )
    # The linear thirds of 1000 .. 5004: ranks 8/3 and 16/3 of 0..8.
    assert [value for _, value in found] == ["up to 2335", "2335 to 3669", "above 3669"]


def test_cases_that_the_table_leaves_out_are_named(tmp_path):
    path = table(tmp_path, "case,sex", "case_000,f", "case_002,")
    assert unknown_cases(read_case_table(path), ["case_000", "case_001", "case_002"]) == [
        "case_001",
        "case_002",
    ]


def test_a_case_that_nothing_is_known_of_is_in_no_part(tmp_path):
    _, found = parts(tmp_path, "case,sex", "case_000,f", "case_001,m", "case_002,")
    assert [part.cases for part in found.values()] == [1, 1]


def test_subgroups_are_in_the_file(tmp_path):
    board, _ = parts(tmp_path, "case,sex", "case_000,f", "case_001,m")
    stored = json.loads(to_json(board))["divisions"][0]["subgroups"]
    assert [(part["column"], part["value"], part["cases"]) for part in stored] == [
        ("sex", "f", 1),
        ("sex", "m", 1),
    ]
    assert stored[0]["means"]["dsc:organs"]["a"]["n"] == 1


def test_subgroups_are_in_every_table(tmp_path):
    board, _ = parts(tmp_path, "case,sex", "case_000,f", "case_001,m")
    console = Console(width=120, file=io.StringIO(), color_system=None)
    render_terminal(board, console)
    for table_ in (console.file.getvalue(), to_markdown(board)):
        assert "DSC organs, %, by sex" in table_
        assert "f n=1" in table_


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        (["name,sex", "a,f"], "no column `case`"),
        (["case,sex", "a,f", "a,m"], "case a occurs twice"),
        ([], "no column `case`"),
    ],
)
def test_a_table_that_is_none_is_explained(tmp_path, lines, complaint):
    with pytest.raises(ConfigurationError, match=complaint):
        read_case_table(table(tmp_path, *lines))


def test_cases_that_are_not_there_are_named(tmp_path):
    path = table(tmp_path, "case,sex", "case_000,f", "case_00l,m")
    assert check_cases(read_case_table(path), ["case_000"], where=path) == ["case_00l"]


def test_a_table_of_other_cases_is_explained(tmp_path):
    path = table(tmp_path, "case,sex", "patient7,f")
    with pytest.raises(ConfigurationError, match=r"names none of the 1 cases.*case_000"):
        check_cases(read_case_table(path), ["case_000"], where=path)
