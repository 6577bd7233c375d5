"""Memory in sockets that the kernel counts in no memory limit: read from the container's own network."""

from __future__ import annotations

from pathlib import Path

_RECEIVED = 4


def netlink_bytes(pid: int | None, proc: Path = Path("/proc")) -> int:
    """Return what the netlink sockets of a process's network hold; 0 where it cannot be read.

    The kernel answers a request into the asker's socket, up to 200 KiB each, on nobody's bill.
    """
    try:
        rows = (proc / str(pid) / "net" / "netlink").read_text().splitlines()[1:]
        return sum(int(row.split()[_RECEIVED]) for row in rows)
    except (OSError, ValueError, IndexError):
        return 0
