"""Open files of processes: how many, and what deleted ones still hold on a disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def host_open_files() -> int:
    """Return how many files are open on this host; costs one small read."""
    try:
        return int(Path("/proc/sys/fs/file-nr").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return 0


def open_files(pids: Iterable[int]) -> int:
    """Return how many descriptors some processes have between them, as far as we may look."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            # Since Linux 6.2 the folder's size is their number, and counting costs nothing.
            folder = Path(f"/proc/{pid}/fd")
            total += folder.stat().st_size or sum(1 for _ in os.scandir(folder))
    return total


def deleted_bytes(pids: Iterable[int], device: int, *, most: int) -> int:
    """Return what files without a name hold on a file system while processes have them open.

    Args:
        pids: The processes.
        device: The file system, as `os.stat` numbers it.
        most: Descriptors looked at.
    """
    seen: dict[int, int] = {}
    looked = 0
    for pid in pids:
        with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as found:
            for entry in found:
                looked += 1
                if looked > most:
                    return sum(seen.values())
                with suppress(OSError):
                    status = entry.stat()
                    if status.st_dev == device and status.st_nlink == 0 and stat.S_ISREG(status.st_mode):
                        seen[status.st_ino] = status.st_blocks * 512
    return sum(seen.values())
