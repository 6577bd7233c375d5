"""Keep both ends of a log that a stranger writes, in bounded memory."""

from __future__ import annotations

import threading

_LINE_SEARCH = 8192


class LogKeeper:
    """The first and the last half of `limit_bytes`; the middle of a longer log is dropped and counted."""

    def __init__(self, limit_bytes: int) -> None:
        self._head_limit = limit_bytes // 2
        self._tail_limit = limit_bytes - self._head_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._lock = threading.Lock()
        self.total_bytes = 0

    def write(self, data: bytes) -> None:
        """Add what was just printed."""
        with self._lock:
            self.total_bytes += len(data)
            room = self._head_limit - len(self._head)
            if room > 0:
                self._head += data[:room]
                data = data[room:]
            self._tail += data
            if len(self._tail) > 2 * self._tail_limit:
                del self._tail[: -self._tail_limit]

    def content(self) -> bytes:
        """Return what was kept, with a line that says how much is missing."""
        with self._lock:
            tail = bytes(self._tail[-self._tail_limit :])
            dropped = self.total_bytes - len(self._head) - len(tail)
            gap = f"\n[... {dropped} bytes of the log were dropped here ...]\n".encode() if dropped else b""
            return bytes(self._head) + gap + tail

    def last_line(self, limit: int = 300) -> str:
        """Return the last line that is not blank, printable and at most `limit` characters long."""
        with self._lock:
            whole = self.total_bytes == len(self._head) + len(self._tail)
            end = bytes(
                ((self._head[-_LINE_SEARCH:] if whole else b"") + self._tail[-_LINE_SEARCH:])[-_LINE_SEARCH:]
            )
        lines = [line.strip() for line in end.decode("utf-8", "replace").splitlines()]
        last = next((line for line in reversed(lines) if line), "")
        return "".join(character if character.isprintable() else "?" for character in last)[:limit]
