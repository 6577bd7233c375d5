"""Ends the containers of a harness that was killed: a small process that outlives it.

It reads on its input which containers run (`+NAME`, `-NAME`). When the input closes without a farewell, the
harness is gone, and what still runs has nobody to hold it to its limits.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

_FAREWELL = "."
_TRIES = 20
_PAUSE_S = 0.5


class Watchdog:
    """The harness's end of it.

    Args:
        engine: The engine's name in `harness.engine.registry`.
        address: Where it listens.
    """

    def __init__(self, engine: str, address: str | None) -> None:
        self._arguments = [engine, address or ""]
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "harness.run.watchdog", *self._arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd=Path(__file__).resolve().parents[2],
            start_new_session=True,  # ^C at the terminal, and the end of the terminal, are not for it
        )
        return self

    @contextlib.contextmanager
    def over(self, name: str) -> Iterator[None]:
        """Watch over a container while the block lasts."""
        self._say(f"+{name}")
        try:
            yield
        finally:
            self._say(f"-{name}")

    def _say(self, line: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        with self._lock, contextlib.suppress(OSError):  # somebody killed it: then nobody watches
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def __exit__(self, *_: object) -> None:
        self._say(_FAREWELL)
        if self._process is not None:
            self._process.communicate()
            self._process = None


def main(engine: str, address: str) -> None:
    """Wait for the harness to leave, and kill what it left running."""
    running: set[str] = set()
    for line in sys.stdin:
        word = line.strip()
        if word == _FAREWELL:
            return
        (running.add if word.startswith("+") else running.discard)(word[1:])
    if not running:
        return
    # Only now: while all goes well this process is a bare interpreter.
    from harness.engine.registry import open_engine
    from harness.errors import HarnessError

    for _ in range(_TRIES):  # a start may still be under way in the engine
        with contextlib.suppress(HarnessError):
            runner = open_engine(engine, address=address or None)
            for name in running:
                runner.kill(name)
            runner.close()
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    main(*sys.argv[1:3])
