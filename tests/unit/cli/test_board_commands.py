"""Commands around the leaderboard: options hold where they stand, and mistakes are told before the night."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest

from harness.challenge import load_challenge
from harness.cli.app import run
from tests.unit.leaderboard.synthetic import Plan, make_run, strip_signatures, write_run

OURS = """\
name = "ours"
title = "Our own"
label_table = "phantom"
[label_groups]
organs = [1, 2]
[limits]
memory = "4 GiB"
time = "5 min"
[[ranking.metrics]]
metric = "dsc"
labels = "organs"
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an own challenge's file, and results of it and of phantom."""
    monkeypatch.chdir(tmp_path)
    Path("ours.toml").write_text(OURS)
    for challenge in (load_challenge("ours.toml"), load_challenge("phantom")):
        for team, dsc in (("alpha", 0.9), ("beta", 0.7)):
            write_run(make_run(Plan(team, dsc=dsc), challenge=challenge, cases=4), Path("results"))
    return tmp_path


def test_a_challenge_named_before_report_holds_for_it(place, capsys):
    assert run(["leaderboard", "-c", "ours.toml", "report"]) == 0
    assert Path(capsys.readouterr().out.strip()).is_relative_to("results/ours/report")
    assert not Path("results/phantom/report").exists()


def test_what_the_subcommand_says_itself_wins(place, capsys):
    assert run(["leaderboard", "-c", "ours.toml", "report", "-c", "phantom"]) == 0
    assert Path("results/phantom/report").exists()
    assert not Path("results/ours/report").exists()


def test_results_and_hosts_named_before_report_hold_for_it_too(place, capsys):
    Path("results").rename("elsewhere")
    assert run(["leaderboard", "--results", "elsewhere", "--across-hosts", "report"]) == 0
    assert Path("elsewhere/phantom/report").exists()


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["evaluate", "small_unet", "--profile", "foo"], "there is no profile 'foo'"),
        (["evaluate", "--image", "a.tar", "--device", "tpu"], "'tpu' is no device"),
        (["evaluate", "small_unet", "--device", "tpu"], "'tpu' is no device"),
        (["evaluate", "small_unet", "--device", "cuda"], "--device is for images"),
        (["evaluate", "small_unet"], "submissions"),
        (["evaluate", "one", "--image", "a.tar", "--image", "b.tar"], "2 images would be the one team 'one'"),
        (["evaluate", "--image", "x/a.tar", "--image", "y/a.tar.gz"], "2 images would be the one team 'a'"),
        (["check", "--image", "a.tar", "--image", "b.tar"], "Check one image at a time"),
        (["check", "--image", "a.tar", "--device", "tpu"], "'tpu' is no device"),
        (["check", "nope", "--data", "not-read-yet"], "there is no submission named 'nope'"),
        (["check", "--data", "not-read-yet"], "name a TEAM or an --image"),
        (["score", "--profile", "foo"], "there is no profile 'foo'"),
        (["leaderboard", "--profile", "flair"], "Did you mean flare"),
        (["export", "tidy", "-o", "out", "--profile", "foo"], "there is no profile 'foo'"),
        (["leaderboard", "history", "Alpah"], "Did you mean alpha"),
        (["leaderboard", "history", "zzz"], "There are: alpha, beta"),
        (["leaderboard", "--cases", "ours.toml"], "no column `case`"),
    ],
)
def test_a_mistake_is_told_before_any_data_are_read(place, capsys, argv, complaint):
    """There are no data here: whoever read them first would complain of that."""
    assert run(argv) == 2
    assert complaint in capsys.readouterr().err


def test_a_team_of_another_case_is_recognised(place, capsys, small_dataset):
    data = small_dataset(place / "data")
    assert run(["score", "--team", "Alpha", "--data", str(data)]) == 2
    assert "Did you mean alpha?" in capsys.readouterr().err


def test_a_verify_of_a_challenge_by_its_file_says_what_it_checked(place, capsys, small_dataset):
    data = small_dataset(place / "data")
    shutil.copytree(data / "labelsVal", "gamma")
    scored = ["--data", str(data), "-c", "ours.toml", "--results", "other"]
    assert run(["score", "gamma", *scored]) == 0
    capsys.readouterr()
    assert run(["verify", *scored]) == 0
    said = capsys.readouterr()
    assert "\tintact\t" in said.out
    assert "1 score(s) made again, equal" in said.out
    assert "1 run(s), 0 damaged" in said.err
    assert run(["verify", *scored, "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)
    assert (told["intact"], told["problems"]) == (True, [])


def test_the_table_is_there_in_latex(place, capsys):
    assert run(["leaderboard", "-f", "latex"]) == 0
    assert capsys.readouterr().out.count(r"\begin{tabular}") == 1


def test_the_long_table_is_one_command_away(place, capsys):
    assert run(["export", "tidy", "-o", "out", "-c", "ours.toml"]) == 0
    assert capsys.readouterr().out.split() == ["out/labels.csv", "out/cases.csv"]
    rows = list(csv.DictReader(io.StringIO(Path("out/labels.csv").read_text())))
    assert {row["team"] for row in rows} == {"alpha", "beta"}


def test_statistics_know_the_parts_of_a_table_of_cases(place, capsys):
    Path("cases.csv").write_text("case,sex\ncase_000,f\ncase_001,m\ncase_002,m\n")
    assert run(["export", "statistics", "-o", "out", "--cases", "cases.csv"]) == 0
    assert "sex,m,dsc:organs,alpha" in Path("out/subgroups.csv").read_text()


def test_the_history_of_a_team_is_its_runs_in_time(place, capsys):
    later = make_run(Plan("alpha", dsc=0.5, run="later", day=3), cases=4)
    write_run(later, Path("results"))
    assert run(["leaderboard", "history"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[:2] for line in lines] == [["alpha", "run-1"], ["alpha", "later"]]
    assert "not shown" in lines[1]


COMMANDS = (
    ["leaderboard"],
    ["leaderboard", "report"],
    ["leaderboard", "history"],
    ["export", "tidy", "-o", "out"],
)


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command[:2]) for command in COMMANDS])
def test_a_run_whose_signatures_were_taken_away_is_ranked_only_when_told_to(place, capsys, command):
    strip_signatures(Path("results/phantom/alpha/run-1"))
    assert run(command) == 2
    assert "alpha run-1" in capsys.readouterr().err
    assert not Path("results/phantom/leaderboard.csv").exists()
    assert run([*command, "--unsigned"]) == 0


def test_an_unsigned_row_is_marked(place, capsys):
    strip_signatures(Path("results/phantom/alpha/run-1"))
    assert run(["leaderboard", "--unsigned"]) == 0
    rows = csv.DictReader(io.StringIO(Path("results/phantom/leaderboard.csv").read_text()))
    assert [(row["team"], row["marks"]) for row in rows] == [("alpha", "unsigned"), ("beta", "")]
