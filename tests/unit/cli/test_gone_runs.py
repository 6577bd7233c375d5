"""`harness verify` on the host that judged: it misses what was taken away, until told that it was meant."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.cli.app import run


@pytest.fixture
def scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_dataset: Callable[[Path], Path]) -> Path:
    """A results folder with a run of each of two teams."""
    monkeypatch.chdir(tmp_path)
    data = small_dataset(tmp_path / "data")
    for team in ("alpha", "beta"):
        shutil.copytree(data / "labelsVal", team)
        assert run(["score", team, "--data", "data", "-c", "phantom"]) == 0
    return Path("results")


def run_folder(results: Path, team: str) -> Path:
    (folder,) = (path for path in (results / "phantom" / team).iterdir() if path.is_dir())
    return folder


def test_a_deleted_run_is_missed_where_the_results_are_moved_to(scored, capsys):
    gone = run_folder(scored, "alpha").relative_to(scored)
    shutil.rmtree(scored / gone)
    scored.rename("moved")
    capsys.readouterr()
    assert run(["verify", "--results", "moved"]) == 4
    told = capsys.readouterr()
    assert f"moved/{gone}\tgone\tsealed here with 1 line(s) of cases" in told.out
    assert "1 run(s), 0 damaged, 1 gone" in told.err
    assert "--forget" in told.err


def test_runs_are_missed_where_none_is_left(scored, capsys):
    shutil.rmtree(scored / "phantom")
    capsys.readouterr()
    assert run(["verify", "-c", "phantom", "--json"]) == 4
    assert [entry["gone"] for entry in json.loads(capsys.readouterr().out)] == [True, True]


def test_what_is_forgotten_is_missed_no_more(scored, capsys):
    shutil.rmtree(run_folder(scored, "alpha"))
    assert run(["verify", "--forget"]) == 0
    assert "gone" in capsys.readouterr().out
    assert run(["verify"]) == 0
    assert "gone" not in capsys.readouterr().out


def test_a_run_in_the_place_of_one_that_was_thrown_away_does_not_hide_it(scored, capsys):
    folder = run_folder(scored, "alpha")
    shutil.rmtree(folder)
    assert run(["score", "alpha", "--data", "data", "-c", "phantom"]) == 0
    capsys.readouterr()
    assert run(["verify"]) == 4
    told = capsys.readouterr().out
    assert f"{folder}\tintact\t" in told
    assert f"{folder}\tgone\t" in told


def test_results_that_were_deleted_whole_and_begun_anew_miss_nothing(scored):
    shutil.rmtree(scored)
    assert run(["score", "alpha", "--data", "data", "-c", "phantom"]) == 0
    assert run(["verify"]) == 0


def test_runs_of_other_results_and_other_keys_are_not_missed(scored, monkeypatch, tmp_path, capsys):
    assert run(["score", "beta", "--data", "data", "-c", "phantom", "--results", "elsewhere"]) == 0
    shutil.rmtree(run_folder(scored, "alpha"))
    assert run(["verify", "--results", "elsewhere"]) == 0
    monkeypatch.setenv("FLAREHARNESS_KEY", str(tmp_path / "another"))
    assert run(["verify"]) == 0


def test_a_copy_of_results_goes_ways_of_its_own(scored, capsys):
    shutil.copytree(scored, "copy")
    assert (
        run(
            [
                "score",
                "--again",
                "--data",
                "data",
                "-c",
                "phantom",
                "--profile",
                "flare22",
                "--results",
                "copy",
            ]
        )
        == 0
    )
    shutil.rmtree(run_folder(Path("copy"), "beta"))
    capsys.readouterr()
    assert run(["verify"]) == 0
    assert run(["verify", "--results", "copy"]) == 4
    assert "1 run(s), 0 damaged, 1 gone" in capsys.readouterr().err


def test_a_folder_that_was_given_another_name_still_misses_its_runs(scored):
    shutil.rmtree(run_folder(scored, "alpha"))
    for change in (lambda path: path.unlink(), lambda path: path.write_text("another")):
        change(scored / ".id")
        assert run(["verify"]) == 4
