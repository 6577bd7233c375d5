"""A folder that many hosts see: what is put into it is put once, whole, by exactly one of them.

put_new    link(2) of a finished file to its name: on every file system that hosts share, NFS too, one
           of many who try at once wins, and nobody ever reads half a file
overwrite  in place, a few bytes of one length: a reader opens the same file again and sees the new ones,
           where after a rename NFS may show the old file for as long as it caches names
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from itertools import count
from pathlib import Path

from harness.cluster.identity import HERE
from harness.errors import InfrastructureError

_NEW = ".new"
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class SharedFolder:
    """A folder of the queue. Names are relative to it.

    Attributes:
        root: The folder; made where it is missing.
    """

    _numbers = count()

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / _NEW).mkdir(parents=True, exist_ok=True)

    def put_new(self, name: str, content: bytes, *, durable: bool = False) -> bool:
        """Put a file under a name that nobody has taken; return whether it is ours.

        Args:
            name: Below the folder; the folder above it exists.
            content: The whole of it.
            durable: Whether the content is on the disk before the name is.

        Raises:
            InfrastructureError: the disk is full or failing, or knows no hard links.
        """
        finished = self.root / _NEW / f"{HERE.token}-{threading.get_ident()}-{next(self._numbers)}"
        try:
            _write(finished, content, durable=durable)
            return self._link(finished, self.root / name)
        except OSError as error:
            raise _failed(error, self.root / name) from error
        finally:
            with suppress(OSError):
                finished.unlink()

    def _link(self, finished: Path, target: Path) -> bool:
        try:
            os.link(finished, target)
        except OSError as error:
            # The answer to a link that succeeded may be lost on the way, and its repetition refused.
            if finished.stat().st_nlink == 2:
                return True
            if error.errno != errno.EEXIST:
                raise
            return False
        return True

    def read(self, name: str) -> bytes | None:
        """Return a file's content; None where there is none yet."""
        try:
            return (self.root / name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ESTALE:  # it went away while it was read
                return None
            raise _failed(error, self.root / name) from error

    def names(self, folder: str = ".") -> list[str]:
        """Return the names in a folder, sorted; none where it is missing."""
        try:
            with os.scandir(self.root / folder) as found:
                return sorted(each.name for each in found if not each.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            if error.errno == errno.ESTALE:
                return []
            raise _failed(error, self.root / folder) from error

    def overwrite(self, name: str, content: bytes) -> None:
        """Write over a file of the same length, or make it.

        Raises:
            OSError: the disk or the network fails.
        """
        descriptor = os.open(self.root / name, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.pwrite(descriptor, content, 0)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write(path: Path, content: bytes, *, durable: bool) -> None:
    with path.open("wb") as file:
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _failed(error: OSError, where: Path) -> InfrastructureError:
    mend = f"{error.strerror}."
    if error.errno in _NO_LINKS:
        mend = "This disk knows no hard links; use a folder on a disk or a share that does."
    return InfrastructureError("the queue cannot be read or written", where=where, mend=mend)
