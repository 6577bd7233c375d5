"""What a disk, a locale, a pipe or Docker's own settings do is told in one line, or makes no difference."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest
from headers import by_nibabel, two_organs

READ_ONLY = """
import builtins, errno, io, os
usual_open, usual_mkdir = io.open, os.mkdir
def closed(path):
    return isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(os.environ["CLOSED"])
def open(path, mode="r", *more, **named):
    if closed(path) and set(mode) & set("wax+"):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
    return usual_open(path, mode, *more, **named)
def mkdir(path, *more, **named):
    if closed(path) and not os.path.isdir(path):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
    return usual_mkdir(path, *more, **named)
io.open = builtins.open = open
os.mkdir = mkdir
"""
NO_LOCKS = """
import errno, fcntl, os
def flock(*_):
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
fcntl.flock = flock
"""
NO_SYNC_OF_FOLDERS = """
import errno, os, stat
usual = os.fsync
def fsync(number):
    if stat.S_ISDIR(os.fstat(number).st_mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    usual(number)
os.fsync = fsync
"""
NO_OWNERS = """
import errno, os
def chown(path, *_, **__):
    raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), path)
os.chown = chown
"""


@pytest.fixture
def command(desk):
    """Run a command line as a process, on a system that behaves as a text says."""

    def run(*words, system="", **environment):
        place = desk.folder / "system"
        place.mkdir(exist_ok=True)
        (place / "sitecustomize.py").write_text(system)
        settings = {**os.environ, "PYTHONPATH": str(place), **environment}
        done = subprocess.run(
            [sys.executable, *words], cwd=desk.folder, env=settings, capture_output=True, timeout=300
        )
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert "Traceback" not in said
        return done.returncode, said

    return run


@pytest.fixture
def score(desk, command):
    """`harness score` as a process, on one case with a perfect prediction."""
    desk.plain()
    desk.predict()

    def run(*more, results="results", **how):
        words = ["-m", "harness", "score", "predictions", "--data", "data", "--results", results]
        return command(*words, *(more or ("--team", "team")), **how)

    return run


def test_a_results_folder_below_a_file(desk, score):
    (desk.folder / "file").write_text("")
    code, said = score(results="file/results")
    assert code in (2, 3, 4) and said.count("harness: ") == 1


def test_a_table_of_results_on_a_read_only_disk(desk, score, command):
    assert score()[0] == 0
    words = ("-m", "harness", "leaderboard", "--results", "results")
    code, said = command(*words, system=READ_ONLY, CLOSED=str(desk.folder / "results"))
    assert code == 0 and "team" in said


def test_a_disk_that_knows_no_locks(score):
    code, said = score(system=NO_LOCKS)
    assert code == 0 or (code in (2, 3, 4) and "lock" in said)
    assert "another harness" not in said


def test_a_disk_that_syncs_no_folders(score):
    assert score(system=NO_SYNC_OF_FOLDERS)[0] == 0


def test_a_pipe_that_is_no_utf8(score, command):
    assert score()[0] == 0
    code, said = command("-m", "harness", "leaderboard", "--results", "results", PYTHONIOENCODING="ascii")
    assert code == 0 and "team" in said


def test_a_locale_that_is_no_utf8(desk, score):
    desk.plain("caf\u00e9")
    by_nibabel(desk.prediction("caf\u00e9"), two_organs())
    desk.describe(name="K\u00f6ln")
    code, _ = score(PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert code == 0
    (scores,) = desk.folder.glob("results/phantom/team/*/scores.jsonl")
    assert "caf\u00e9" in scores.read_text(encoding="utf-8")


@pytest.mark.parametrize("by", ["docker context use", "DOCKER_CONTEXT"])
def test_the_engine_that_docker_itself_would_ask(desk, command, by):
    desk.plain()
    address = "unix:///nowhere/lab.sock"
    settings = desk.folder / "docker"
    place = settings / "contexts/meta" / hashlib.sha256(b"lab").hexdigest()
    place.mkdir(parents=True)
    endpoint = {"docker": {"Host": address, "SkipTLSVerify": False}}
    (place / "meta.json").write_text(json.dumps({"Name": "lab", "Metadata": {}, "Endpoints": endpoint}))
    chosen = {"DOCKER_CONTEXT": "lab"} if by == "DOCKER_CONTEXT" else {}
    (settings / "config.json").write_text(json.dumps({} if chosen else {"currentContext": "lab"}))
    code, said = command(
        *("-m", "harness", "check", "--image", "no-such-image", "--data", "data"),
        **{"DOCKER_CONFIG": str(settings), "DOCKER_HOST": "", **chosen},
    )
    assert code in (2, 3) and address.removeprefix("unix://") in said


def test_a_disk_without_owners_is_our_trouble_and_not_the_teams(desk, command):
    desk.plain()
    desk.submit('cp answer "$FLARE_OUTPUTS/a.nii.gz"\n', answer=desk.label().read_bytes())
    code, _ = command(
        *("-m", "harness", "evaluate", "copycat", "--engine", "process", "--submissions", "submissions"),
        *("--data", "data", "--results", "results"),
        system=NO_OWNERS,
    )
    assert code in (0, 3, 4)


def test_an_output_that_is_a_link_to_a_pipe_is_written_to(desk, command):
    by_nibabel(desk.reference(), two_organs())
    desk.predict()
    (desk.folder / "out.csv").symlink_to("/dev/fd/1")
    code, said = command(
        *("-m", "evaluator", "labels", "predictions", "--challenge", "phantom"),
        *("--output", "out.csv", "--quiet"),
    )
    assert code == 0 and "a,1," in said
    assert (desk.folder / "out.csv").is_symlink()


def test_a_team_whose_name_no_folder_can_have(score):
    code, said = score("--team", "t" * 300)
    assert code == 2 and said.count("harness: ") == 1 and "name" in said
