"""One holder per folder."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Self

from harness.errors import InfrastructureError, PrerequisiteError


class FolderLock:
    """At most one holder per folder. The kernel drops it with the process, however that ends."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / ".lock"
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting.

        Raises:
            InfrastructureError: someone else holds it.
            PrerequisiteError: the folder's disk has no locks.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(descriptor)
                raise PrerequisiteError(
                    f"this disk knows no file locks ({error.strerror}), so two harnesses could write at once",
                    where=self.path.parent,
                    mend="Use a results folder on a local disk, or mount the share with locks.",
                ) from error
            holder = os.read(descriptor, 64).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise InfrastructureError(
                f"another harness works in this folder{f' (process {holder})' if holder else ''}",
                where=self.path.parent,
                mend="Wait for it, or use another results folder.",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back."""
        if self._descriptor is not None:
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
