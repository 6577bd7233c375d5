"""Open files are counted, and what deleted ones hold is found."""

from __future__ import annotations

import os
from pathlib import Path

from harness.measure.descriptors import deleted_bytes, host_open_files, open_files

MIB = 1024**2


def test_open_files_are_counted_over_processes(tmp_path: Path) -> None:
    before = open_files([os.getpid()])
    files = [(tmp_path / str(number)).open("w") for number in range(50)]
    assert open_files([os.getpid()]) - before == 50
    assert host_open_files() >= 50
    for file in files:
        file.close()


def test_a_process_that_is_gone_holds_nothing() -> None:
    assert open_files([2**22 + 1]) == 0
    assert deleted_bytes([2**22 + 1], 0, most=10) == 0


def test_a_deleted_file_counts_while_it_is_open(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    before = deleted_bytes([os.getpid()], device, most=10_000)
    path = tmp_path / "hidden"
    with path.open("wb") as file:
        file.write(bytes(3 * MIB))
        file.flush()
        os.fsync(file.fileno())
        assert deleted_bytes([os.getpid()], device, most=10_000) == before
        path.unlink()
        assert deleted_bytes([os.getpid()], device, most=10_000) - before >= 3 * MIB
    assert deleted_bytes([os.getpid()], device, most=10_000) == before
