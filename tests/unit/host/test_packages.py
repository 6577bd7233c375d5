"""docker/packages.sh: one list of what commands need from this host, and one message for all of it."""

import os
import shutil
import subprocess
import sys

import pytest

LIST = """
# purpose package sign what for
cook   oven-{version}  python:no_such_module_anywhere  bakes
cook   salt            /nowhere/salt                   makes it taste
cook   pan             sh                              is here already
wash   sponge          no-such-sponge                  cleans
"""


@pytest.fixture
def packages(tmp_path, repository):
    """Run the script over a list of its own; it never gets to install anything."""
    shutil.copy(repository / "docker" / "packages.sh", tmp_path)
    (tmp_path / "packages.txt").write_text(LIST)

    def run(*arguments):
        return subprocess.run(
            ["sh", str(tmp_path / "packages.sh"), *arguments],
            env=os.environ | {"PYTHON": sys.executable, "ENGINE": "manual"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_every_missing_package_is_named_at_once_with_what_it_is_for(packages):
    done = packages("cook", "wash")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert f"oven-{version} (bakes), salt (makes it taste), sponge (cleans)." in done.stderr
    assert f"apt-get install oven-{version} salt sponge" in done.stderr
    assert "pan" not in done.stderr


def test_only_the_purposes_that_are_asked_for_count(packages):
    assert packages("--missing", "wash").stdout == "sponge: cleans\n"
    assert packages("--missing", "sleep").stdout == ""
    assert packages("sleep").returncode == 0


def test_the_projects_list_has_a_sign_and_a_reason_for_each_package(repository):
    lines = (repository / "docker" / "packages.txt").read_text().splitlines()
    rows = [line.split(maxsplit=3) for line in lines if line and not line.startswith("#")]
    assert all(len(row) == 4 for row in rows)
    assert len({row[1] for row in rows}) == len(rows)
    assert {row[0] for row in rows} == {"env", "engine", "base", "browser", "podman", "slurm", "vm"}


def test_without_an_engine_one_message_says_what_is_missing_and_what_works_without(repository):
    done = subprocess.run(
        ["sh", "docker/engine.sh"],
        cwd=repository,
        env=os.environ | {"PYTHON": sys.executable, "DOCKER_HOST": "unix:///nowhere/docker.sock"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "ENGINE=process" in done.stderr
    assert "not isolated" in done.stderr
