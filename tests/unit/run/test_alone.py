"""Harnesses of one host wait for each other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.results.lock import FileLock
from harness.results.observer import Observer
from harness.run.alone import alone_on_this_host

HOLDS_IT = """
import sys
from harness.results.lock import FileLock
from pathlib import Path
FileLock(Path(sys.argv[1])).take(lambda holder: None)
print("held", flush=True)
sys.stdin.read()
"""


class Listening(Observer):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "cache" / "measuring.lock"
    monkeypatch.setenv("FLAREHARNESS_HOST_LOCK", str(path))
    return path


def test_a_second_harness_waits_for_the_first_and_says_so(lock: Path) -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", HOLDS_IT, str(lock)], stdin=pipe, stdout=pipe) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"

        class Ending(Listening):
            def note(self, text: str) -> None:
                super().note(text)
                os.kill(other.pid, signal.SIGKILL)  # the kernel frees its lock

        observer = Ending()
        with alone_on_this_host(observer):
            pass
    (note,) = observer.notes
    assert note == f"another harness measures on this host (process {other.pid}); waiting for it"


def test_alone_nothing_is_said(lock: Path) -> None:
    observer = Listening()
    for _ in range(2):
        with alone_on_this_host(observer):
            assert lock.read_text().strip() == str(os.getpid())
    assert observer.notes == []


def test_a_process_does_not_wait_for_itself(lock: Path) -> None:
    with (
        alone_on_this_host(Observer()),
        pytest.raises(InfrastructureError, match="measures already"),
        alone_on_this_host(Observer()),
    ):
        pass
    FileLock(lock).take(lambda holder: pytest.fail("it is still held"))


def test_where_no_lock_can_be_made_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FLAREHARNESS_HOST_LOCK", str(tmp_path / "file" / "lock"))
    observer = Listening()
    with alone_on_this_host(observer):
        pass
    assert "not kept off" in observer.notes[0]
