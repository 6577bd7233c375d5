"""The Makefile says what it needs before it does anything."""

import os
import re
import subprocess

import pytest


def make(*arguments, repository, **environment):
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=repository,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_make_alone_lists_every_target_for_people(repository):
    listed = make(repository=repository)
    assert listed.returncode == 0
    shown = set(re.findall(r"^  ([a-z-]+) +\S", listed.stdout, re.MULTILINE))
    wanted = {"env", "engine", "build-all", "evaluate", "leaderboard", "report", "train", "test", "clean"}
    assert wanted <= shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["evaluate"], "TEAM=name"),
        (["train"], "TEAM=name"),
        (["train", "TEAM=small_unet"], "DATA=folder"),
        (["train", "TEAM=nobody", "DATA=x"], "no submissions/nobody/train.py"),
        (["evaluate", "TEAM=small_unet", "ENGINE=proces"], "ENGINE=proces is unknown"),
    ],
)
def test_what_is_missing_is_said_in_one_line(repository, arguments, said):
    done = make(*arguments, repository=repository)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_a_host_without_python_3_11_hears_how_to_get_it(repository, tmp_path):
    """An old Python stands first in PATH under every name, as on a host that has no newer one."""
    for name in ("python3.11", "python3.12", "python3.13", "python3"):
        (tmp_path / name).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = make("env", f"VENV={tmp_path}/venv", repository=repository, PATH=path)
    assert done.returncode == 2
    assert "no Python 3.11 or later was found" in done.stderr
    assert "apt-get install python3.11" in done.stderr
    assert not (tmp_path / "venv").exists()


def test_engine_process_asks_for_no_engine_and_puts_the_runtimes_python_first(repository):
    planned = make("-n", "evaluate", "TEAM=small_unet", "ENGINE=process", repository=repository)
    assert planned.returncode == 0
    assert f'PATH="{repository}/.venv-process/bin:$PATH"' in planned.stdout
    assert "--engine process" in planned.stdout
    assert "docker/ping.py" not in planned.stdout
    assert "engine.sh" not in planned.stdout
