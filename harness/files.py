"""Files that are whole or not there, on whatever disk they lie."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ABANDONED_S = 3600.0


@contextmanager
def whole_file(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Yield the name of a file to write beside `path`; it takes `path`'s place when the block ends well.

    A reader sees the old file or the new one, never a part; several writers may race.

    Args:
        path: The file; its folder exists.
        durable: Whether content and name are on the disk when the block ends.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield unfinished
        if durable:
            with unfinished.open("rb") as file:
                os.fsync(file.fileno())
        unfinished.replace(path)
        if durable:
            sync_folder(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def remove_unfinished(folder: Path) -> None:
    """Remove what `whole_file` left in a folder where its process was killed an hour ago or more."""
    for path in folder.glob(".*.part"):
        owner = path.name.split(".")[-2].partition("-")[0]
        with suppress(OSError):
            if path.stat().st_mtime < time.time() - _ABANDONED_S and not Path(f"/proc/{owner}").exists():
                path.unlink()


def write_whole(path: Path, content: str | bytes, *, durable: bool = False) -> None:
    """Write a file whole or not at all; text is UTF-8 with plain line ends. See `whole_file`."""
    with whole_file(path, durable=durable) as unfinished:
        unfinished.write_bytes(content.encode() if isinstance(content, str) else content)


def sync_folder(folder: Path) -> None:
    """Make a new name in a folder durable, where its disk can: network shares refuse to (EINVAL)."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
