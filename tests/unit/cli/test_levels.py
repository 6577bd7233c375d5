"""-q leaves out messages, not errors or data; -v shows where a failure arose; each help has an example."""

import pytest

from harness.cli import display
from harness.cli.app import COMMANDS, load_command, run


@pytest.fixture(autouse=True)
def loud_again():
    yield
    display.mute(muted=False)


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_leaves_out_progress(tmp_path, capsys, place):
    words = ["data", "phantom", str(tmp_path / "p"), "--cases", "1", "--shape", "48x48x24"]
    assert run(["-q", *words] if place == "before" else [*words, "-q"]) == 0
    assert capsys.readouterr().err == ""


def test_quiet_still_says_errors(tmp_path, capsys):
    assert run(["-q", "leaderboard", "--results", str(tmp_path)]) == 2
    assert "there are no results" in capsys.readouterr().err


def test_verbose_shows_where_a_failure_arose(tmp_path, capsys):
    assert run(["leaderboard", "--results", str(tmp_path), "-v"]) == 2
    said = capsys.readouterr().err
    assert "Traceback" in said
    assert said.splitlines()[-1].startswith("harness: there are no results")


def test_what_follows_a_double_dash_is_not_taken(capsys):
    assert run(["leaderboard", "--", "-q"]) == 2
    assert "-q" in capsys.readouterr().err


def commands():
    for name in COMMANDS:
        command = load_command(name)
        yield name, command
        for inner, one in getattr(command, "commands", {}).items():
            yield f"{name} {inner}", one


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_each_help_has_an_example_that_names_its_command(name, command):
    assert f"`harness {name}" in " ".join(command.help.split())


def test_no_summary_is_cut_in_a_terminal_of_eighty_columns(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out
    assert "..." not in listed.partition("Commands:")[2]
    assert [line.split()[0] for line in listed.partition("Commands:")[2].splitlines() if line] == [*COMMANDS]
