"""What a disk, a locale or a terminal refuses is one line, and what is written is UTF-8 everywhere."""

import errno
import fcntl
import os
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from harness.cli.app import run
from harness.errors import InfrastructureError
from harness.results.folder import check_team
from harness.results.lock import FolderLock


@pytest.fixture
def data(tmp_path):
    """One case with an accent in its name, and a perfect prediction of it."""
    array = np.zeros((4, 5, 6), np.uint8)
    array[1:3, 1:3, 1:4] = 1
    for name, values in (
        ("data/imagesVal/caf\u00e9_0000.nii.gz", array.astype(np.int16)),
        ("data/labelsVal/caf\u00e9.nii.gz", array),
        ("predictions/caf\u00e9.nii.gz", array),
    ):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return tmp_path


def score(folder, results="results", **environment):
    command = [sys.executable, "-c", "from harness.cli import main; main()", "score", "predictions"]
    command += ["--data", "data", "--results", results, "--team", "team"]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, encoding="utf-8"
    )


def test_names_and_records_are_utf8_in_a_locale_that_is_not(data):
    done = score(data, PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert done.returncode == 0, done.stderr
    (record,) = data.glob("results/phantom/team/*/scores.jsonl")
    assert '"case":"caf\u00e9"' in record.read_text(encoding="utf-8")


def test_a_pipe_without_unicode_gets_the_table_with_signs_replaced(data):
    assert score(data).returncode == 0
    command = [
        sys.executable,
        "-c",
        "from harness.cli import main; main()",
        "leaderboard",
        "--results",
        "results",
    ]
    done = subprocess.run(
        command, cwd=data, env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True
    )
    assert done.returncode == 0 and b"team" in done.stdout


def test_a_results_folder_that_cannot_be_made_is_one_line(data):
    (data / "file").write_text("")
    done = score(data, results="file/results")
    assert done.returncode == 4
    assert "part of the path is a file and no folder" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "number", [errno.EROFS, errno.EACCES, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE]
)
def test_every_refusal_of_the_system_is_one_line_with_the_file(capsys, monkeypatch, number):
    def refuse(argv):
        raise OSError(number, os.strerror(number), "/results/run.json")

    monkeypatch.setattr("harness.cli.app.build_app", lambda: refuse([]))
    assert run(["doctor"]) == 4
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1 and "/results/run.json" in lines[0]


def test_a_disk_without_locks_is_not_taken_for_another_harness(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(InfrastructureError, match="cannot lock files"):
        FolderLock(tmp_path).acquire()


@pytest.mark.parametrize(
    "team", ["a" * 300, "leaderboard.csv", "leaderboard.json", "report", "TeamA", "..", ""]
)
def test_a_team_that_could_not_have_its_folder_is_refused_in_one_line(team):
    with pytest.raises(Exception, match="team") as raised:
        check_team(team)
    assert len(str(raised.value)) < 200


@pytest.mark.parametrize("ending", ["_0000", "_seg", "-label"])
def test_predictions_that_are_named_otherwise_are_told_with_their_names(data, ending):
    (prediction,) = (data / "predictions").iterdir()
    prediction.rename(prediction.with_name(f"caf\u00e9{ending}.nii.gz"))
    done = score(data)
    assert done.returncode == 2
    assert f"caf\u00e9{ending}.nii.gz" in done.stderr and "Name each one after its case" in done.stderr


def test_a_table_that_cannot_be_stored_is_printed_all_the_same(data, monkeypatch, capsys):
    assert score(data).returncode == 0
    monkeypatch.chdir(data)

    def refuse(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "results/phantom/leaderboard.csv")

    monkeypatch.setattr("harness.cli.leaderboard.write_files", refuse)
    assert run(["leaderboard", "--results", "results"]) == 0
    shown = capsys.readouterr()
    assert "team" in shown.out and "the disk is read-only" in shown.err
