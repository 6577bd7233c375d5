"""Every expected failure is one line on stderr, without a traceback, and its exit code."""

import errno

import pytest
import typer

from harness.cli import app as application
from harness.cli.app import run
from harness.errors import InfrastructureError, PrerequisiteError


@pytest.fixture
def failing(monkeypatch):
    """A command line whose only command raises what the test asks for."""

    def make(error):
        app = typer.Typer()

        @app.command()
        def only() -> None:
            raise error

        monkeypatch.setattr(application, "build_app", lambda: typer.main.get_command(app))

    return make


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PrerequisiteError("no engine", mend="Start one."), 3),
        (InfrastructureError("the engine went away"), 4),
        (KeyboardInterrupt(), 130),
        (OSError(errno.ENOSPC, "No space left on device", "results/x"), 4),
    ],
)
def test_each_kind_of_failure_has_its_exit_code_and_one_line(failing, capsys, error, code):
    failing(error)
    assert run([]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.err.startswith("harness: ")


def test_a_failure_of_our_own_making_is_not_hidden(failing):
    failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        run([])


def test_an_unknown_command_is_a_usage_error(capsys):
    assert run(["frobnicate"]) == 2
    assert "frobnicate" in capsys.readouterr().err


def test_the_version_is_data(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("harness ")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["evaluate", "small_unett"], r"no submission named 'small_unett'"),
        (["evaluate"], "name a TEAM or an --image"),
        (["evaluate", "small_unet", "--challenge", "flare99"], "no challenge named 'flare99'"),
        (["leaderboard"], "no results of challenge phantom"),
        (["leaderboard", "report"], "no results of challenge phantom"),
        (["build"], "name one TEAM, or give --all"),
        (["data", "phantom", "out", "--shape", "12x"], "is not a shape"),
        (["score", "nowhere", "--team", "x"], "nowhere"),
        (["verify"], "no results"),
    ],
)
def test_a_wrong_request_is_explained(argv, complaint, capsys, tmp_path, monkeypatch, small_dataset):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "submissions" / "small_unet").mkdir(parents=True)
    small_dataset(tmp_path / "data" / "phantom")
    assert run(argv) == 2
    assert complaint in capsys.readouterr().err
