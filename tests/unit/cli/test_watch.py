"""A watched inbox: what arrives while others run is taken in, and ^C ends the watch with all done kept."""

from __future__ import annotations

import pytest

from harness.cli import many
from harness.cli.app import run
from harness.errors import EXIT_INTERRUPTED
from harness.results.folder import read_results
from harness.teams.entries import Status, read_entries


def test_what_arrives_is_evaluated_until_the_watch_is_ended(tmp_path, small_dataset, monkeypatch):
    data = small_dataset(tmp_path / "data")
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    monkeypatch.setenv("FLAREHARNESS_HOST_LOCK", str(tmp_path / "measuring.lock"))

    def arrive(name: str) -> None:
        (inbox / name).mkdir()
        (inbox / name / "submission.toml").write_text(f'name = "{name}"\n')
        (inbox / name / "predict.sh").write_text("exit 0\n")

    looks = []

    def look_again(seconds: float) -> None:
        """Stand for the pause between two looks: something arrives in the first, and ^C comes at the end."""
        looks.append(seconds)
        if len(looks) == 1:
            arrive("late")
        if len(looks) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(many, "sleep", look_again)
    arrive("early")
    taken = []

    def as_folder(engine, team, image, **options):
        """An inbox holds images; this host's tests run folders."""
        taken.append(team)
        return many.Entry(team=team, title="", image=image, device="cpu", opt_outs=options["opt_outs"])

    monkeypatch.setattr(many, "entry_for", as_folder)
    arguments = ["--data", str(data), "--results", str(tmp_path / "results"), "--engine", "process"]
    assert run(["evaluate", "--inbox", str(inbox), "--watch", *arguments]) == EXIT_INTERRUPTED
    assert taken == ["early", "late"]
    found = {each.record.team: len(each.executions) for each in read_results(tmp_path / "results", "phantom")}
    assert found == {"early": 1, "late": 1}
    assert {line.team: line.status for line in read_entries(tmp_path / "results" / "phantom")} == {
        "early": Status.FAILED,
        "late": Status.FAILED,
    }


@pytest.mark.parametrize("words", [("--inbox", "box", "a.tar"), ("--teams", "t.toml", "--all")])
def test_two_ways_of_naming_teams_are_one_too_many(words, capsys):
    assert run(["evaluate", *words]) == 2
    assert "2 ways" in capsys.readouterr().err
