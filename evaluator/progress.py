"""How far a long run has got, on standard error: a line that moves on a terminal, else one now and then."""

from __future__ import annotations

import time
from typing import TextIO

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_BETWEEN_MOVES = 0.1


class Progress:
    """Counts finished cases and says so."""

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self._stream = stream
        self._quiet = quiet
        self._moves = stream.isatty()
        self._total = 0
        self._done = 0
        self._began = self._said = time.monotonic()
        self._line = ""

    def start(self, total: int) -> None:
        """Begin to count towards `total` cases."""
        self._total = total
        self._began = self._said = time.monotonic()

    def advance(self) -> None:
        """Count one finished case."""
        self._done += 1
        wait = _SECONDS_BETWEEN_MOVES if self._moves else _SECONDS_BETWEEN_LINES
        now = time.monotonic()
        if self._quiet or self._total < 2 or (now - self._said < wait and self._done < self._total):
            return
        self._said = now
        rate = self._done / max(now - self._began, 1e-9)
        left = (self._total - self._done) / rate
        self._show(f"{self._done}/{self._total} cases, {rate:.1f} per second, {left:.0f} s left")

    def say(self, message: str) -> None:
        """Print a message above the moving line."""
        self._clear()
        print(message, file=self._stream, flush=True)

    def finish(self) -> None:
        """Take the moving line away."""
        self._clear()

    def _show(self, line: str) -> None:
        if self._moves:
            self._stream.write(f"\r{line}{' ' * (len(self._line) - len(line))}")
            self._line = line
            self._stream.flush()
        else:
            print(line, file=self._stream, flush=True)

    def _clear(self) -> None:
        if self._line:
            self._stream.write(f"\r{' ' * len(self._line)}\r")
            self._line = ""
