"""What the programs of the submissions share: exit codes, lines on stderr, files that are whole."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from segkit import log
from segkit.errors import SegkitError
from segkit.files import file_sha256, whole_file, write_whole
from segkit.program import run_program
from segkit.resample import affordable_shape

SEGKIT = Path(__file__).resolve().parents[3] / "submissions" / "segkit"


def test_work_that_returns_nothing_is_done_well_and_its_own_code_is_kept():
    assert run_program(lambda: None) == 0
    assert run_program(lambda: 1) == 1


def test_what_a_person_can_mend_is_one_line(capsys):
    def work():
        raise SegkitError("x.nii.gz is missing.")

    assert run_program(work) == 2
    assert capsys.readouterr().err == "error: x.nii.gz is missing.\n"


def test_other_errors_are_ours_and_are_not_hidden():
    def work():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_program(work)
    assert run_program(lambda: None, errors=(ZeroDivisionError,)) == 0


def test_a_polite_kill_stops_like_ctrl_c_and_afterwards_kills_as_before(capsys):
    before = signal.getsignal(signal.SIGTERM)

    def work():
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()

    assert run_program(work, stopped="stopped half-way") == 130
    assert "stopped half-way" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_quiet_program_tells_of_faults_alone(capsys):
    def work():
        log.log.info("half done")
        log.log.warning("a fault")

    run_program(work, quiet=True)
    assert capsys.readouterr().err == "a fault\n"
    run_program(work)
    assert capsys.readouterr().err == "half done\na fault\n"


def test_library_code_says_nothing_and_changes_nothing_unasked():
    program = (
        "import os, signal\n"
        "register = os.register_at_fork\n"
        "def noted(**hooks):\n"
        "    assert not any(str(hook.__module__).startswith('segkit') for hook in hooks.values())\n"
        "    register(**hooks)\n"
        "os.register_at_fork = noted\n"
        "import segkit.training.data, segkit.training.run\n"
        "from segkit.log import log\n"
        "log.info('progress')\n"
        "assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL\n"
    )
    environment = {"PYTHONPATH": str(SEGKIT), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_file_is_whole_or_as_it_was(tmp_path):
    path = tmp_path / "plans.json"
    write_whole(path, "first")
    with pytest.raises(ZeroDivisionError), whole_file(path) as part:
        part.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]
    assert file_sha256(path) == "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e"


@pytest.mark.parametrize("shape", [(400, 300, 300), (20, 3000, 3000), (5000, 30, 30), (200, 200, 20)])
def test_a_grid_becomes_coarser_until_there_is_memory_for_it_and_no_more(shape):
    least, voxels = (32, 32, 32), 1_000_000
    z, y, x = affordable_shape(shape, least, voxels)
    padded = [max(size, small) for size, small in zip((z, y, x), least, strict=True)]
    assert 0.9 * voxels < padded[0] * padded[1] * padded[2] <= voxels
    assert all(have == size for have, size in zip((z, y, x), shape, strict=True) if size <= 32)


def test_a_grid_that_cannot_shrink_stays():
    assert affordable_shape((64, 8, 8), (64, 64, 64), 10) == (64, 8, 8)
    assert affordable_shape((10, 10, 10), (1, 1, 1), 1000) == (10, 10, 10)
