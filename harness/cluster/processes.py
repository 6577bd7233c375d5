"""Workers as processes: the command that starts one, and a process that does not outlive who started it."""

from __future__ import annotations

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class WorkerCommand:
    """How a worker is started on any host; the Python is that host's own.

    Attributes:
        results: The results folder, by the path that every host sees it under.
        program: What follows the Python.
    """

    results: Path
    lease_s: float
    program: tuple[str, ...] = ("-m", "harness", "worker")

    def argv(self, *, python: str = sys.executable, slot: int = 0, slots: int = 1) -> list[str]:
        """Return the command line of one worker.

        Args:
            python: The interpreter of its host.
            slot: Which of the places of its host is its own, from 0.
            slots: How many there are.
        """
        places = ["--slot", str(slot), "--slots", str(slots)] if slots > 1 else []
        return [
            python,
            *self.program,
            *("--results", str(self.results.resolve()), "--lease", f"{self.lease_s:g}"),
            *places,
        ]


def run_to_its_end(argv: Sequence[str]) -> int:
    """Run a worker and return its exit code; if this process dies, the worker is told to end."""
    return subprocess.Popen(argv, preexec_fn=_end_with_parent).wait()


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
