"""A shell is offered the teams, challenges and cases that there are."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli import completion
from harness.submission.starter import from_template


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def given(**params):
    return SimpleNamespace(params=params)


def test_teams_are_folders_and_rows(folder):
    from_template("mine", folder / "submissions")
    run = folder / "results" / "hand" / "other" / "abc"
    run.mkdir(parents=True)
    (run / "run.json").touch()
    assert completion.teams(given(), "") == ["mine", "other"]
    assert completion.teams(given(), "m") == ["mine"]
    assert completion.teams(given(submissions=Path("none"), results=Path("none")), "") == []


def test_challenges_are_shipped_or_files(folder):
    (folder / "hand.toml").touch()
    (folder / "rules").mkdir()
    (folder / "rules" / "foot.toml").touch()
    assert completion.challenges("flare24") == ["flare24-task1", "flare24-task2"]
    assert completion.challenges("h") == ["hand.toml"]
    assert completion.challenges("rules/") == ["rules/foot.toml"]


def test_cases_are_those_of_the_data(folder):
    labels = folder / "d" / "labelsVal"
    labels.mkdir(parents=True)
    for name in ("a_1.nii.gz", "a_2.nii", "b.nii.gz"):
        (labels / name).touch()
    assert completion.cases(given(data=folder / "d"), "a") == ["a_1", "a_2"]
    assert completion.cases(given(), "") == []
