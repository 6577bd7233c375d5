"""One holder at a time, and words for who must wait."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from harness.errors import InfrastructureError
from harness.results.lock import FileLock, FolderLock


def test_a_second_holder_hears_who_is_at_work(tmp_path: Path) -> None:
    with FolderLock(tmp_path), pytest.raises(InfrastructureError, match=f"process {os.getpid()}"):
        FolderLock(tmp_path).acquire()
    with FolderLock(tmp_path):
        pass


def test_a_lock_that_is_busy_may_be_refused_by_its_taker(tmp_path: Path) -> None:
    class Refused(Exception):
        pass

    def refuse(holder: str) -> None:
        raise Refused(holder)

    held = FileLock(tmp_path / "lock")
    held.take(refuse)
    with pytest.raises(Refused, match=str(os.getpid())):
        FileLock(tmp_path / "lock").take(refuse)
    held.release()


def test_a_disk_without_locks_is_not_taken_for_another_harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("harness.results.lock.fcntl.flock", flock)
    with pytest.raises(InfrastructureError, match="this disk cannot lock files"):
        FolderLock(tmp_path).acquire()


def test_a_full_disk_keeps_nobody_from_the_lock_nor_the_lock_from_the_next_one(tmp_path, monkeypatch):
    def full(descriptor, content, offset):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", full)
        with FolderLock(tmp_path):
            pass
    with FolderLock(tmp_path):
        pass


def test_who_waited_for_a_lock_that_was_removed_holds_the_new_one(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first, second = FolderLock(folder), FileLock(folder / ".lock")
    first.acquire()
    second.take(lambda _holder: first.remove())
    with pytest.raises(InfrastructureError, match=f"process {os.getpid()}"):
        FolderLock(folder).acquire()
    second.release()
    last = FolderLock(folder)
    last.acquire()
    last.remove()
    assert not folder.exists()
