"""One holder per folder, and one per host for what may run once only."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Self

from harness.errors import InfrastructureError


class FileLock:
    """A lock on a file, with its holder's process id in it. The kernel drops it however the holder ends."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None

    def take(self, busy: Callable[[str], None]) -> None:
        """Take the lock.

        Args:
            busy: Told of the holder's process id, as text that may be empty, if somebody else holds the
                lock. It may raise; if it returns, the lock is waited for.

        Raises:
            InfrastructureError: this disk knows no locks.
            OSError: the file cannot be made.
        """
        descriptor = self._locked(busy)
        while not self._is_at_its_place(descriptor):
            os.close(descriptor)  # whoever held it removed it meanwhile, and it keeps nobody off any more
            descriptor = self._locked(busy)
        self._descriptor = descriptor
        with suppress(OSError):  # on a full disk the lock is held without a name in it
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)

    def _locked(self, busy: Callable[[str], None]) -> int:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            self._lock(descriptor, busy)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _is_at_its_place(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _lock(self, descriptor: int, busy: Callable[[str], None]) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            busy(os.pread(descriptor, 64, 0).decode("ascii", "replace").strip())
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            raise InfrastructureError(
                f"this disk cannot lock files: {error.strerror}",
                where=self.path,
                mend="Use a folder on a local disk; network shares need their lock service.",
            ) from error

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None


class FolderLock(FileLock):
    """At most one holder per folder; a second one is refused at once."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / ".lock")

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            InfrastructureError: someone else holds it, or this disk knows no locks.
        """
        self.take(self._refuse)

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def remove(self) -> None:
        """Take the folder away with the lock that we hold on it; whoever comes next makes it anew."""
        with suppress(OSError):
            self.path.unlink()
            self.path.parent.rmdir()
        self.release()

    def _refuse(self, holder: str) -> None:
        raise InfrastructureError(
            f"another harness works in this folder{f' (process {holder})' if holder else ''}",
            where=self.path.parent,
            mend="Wait for it, or use another results folder.",
        )
