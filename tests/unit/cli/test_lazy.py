"""The command line is listed, helped and completed without importing what only a command needs."""

import json
import os
import subprocess
import sys

import pytest
import typer

from harness.cli import outline
from harness.cli.app import COMMANDS, build_app, load_command

HEAVY = ("numpy", "numba", "scipy", "docker", "SimpleITK", "rich", "requests")
PROBE = """
import sys
from harness.cli.app import run
try:
    run(sys.argv[1:])
except SystemExit:
    pass
sys.stderr.write(" ".join(name for name in {heavy!r} if name in sys.modules))
"""


def loaded_by(*arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-c", PROBE.format(heavy=HEAVY), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.split()


@pytest.mark.parametrize("arguments", [["--version"], ["--help"]])
def test_version_and_help_load_nothing_heavy(arguments):
    shown, heavy = loaded_by(*arguments)
    assert shown
    assert heavy == []


def test_completing_a_command_loads_nothing_heavy():
    request = {"_HARNESS_COMPLETE": "complete_bash", "_TYPER_COMPLETE_ARGS": "harness ev"}
    shown, heavy = loaded_by(**request, COMP_WORDS="harness ev", COMP_CWORD="1")
    assert shown.split() == ["evaluate"]
    assert heavy == []


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("harness evaluate --dev", ["--device"]),
        ("harness evaluate --challenge flare24-task2", ["flare24-task2"]),
        ("harness leaderboard rep", ["report"]),
        ("harness data check --rep", ["--repair"]),
    ],
)
def test_completing_an_option_loads_nothing_heavy(typed, offered):
    last = str(len(typed.split()) - 1)
    shown, heavy = loaded_by(_HARNESS_COMPLETE="complete_bash", COMP_WORDS=typed, COMP_CWORD=last)
    assert shown.split() == offered
    assert heavy == []


def test_a_shell_is_answered_from_what_the_commands_are():
    """After a change of options: `make docs`."""
    stored = json.loads(outline.FILE.read_text(encoding="utf-8"))
    assert stored == {name: outline.outline_of(load_command(name)) for name in COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_listed_with_the_first_sentence_of_its_own_help(name):
    help_text = " ".join(load_command(name).help.split())
    assert f"{help_text} ".startswith(f"{COMMANDS[name]} ")


def test_a_command_that_is_called_is_the_module_s_own():
    group = build_app()
    context = group.make_context("harness", ["data", "phantom", "--help"], resilient_parsing=True)
    listed = group.get_command(context, "data")
    assert "phantom" in listed.make_context("data", ["phantom"], parent=context).command.commands
    assert isinstance(load_command("data"), typer.core.TyperGroup)
