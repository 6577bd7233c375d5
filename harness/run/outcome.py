"""Decide how a case ended, from evidence alone: pure, and in one place."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

from harness.challenge import Limits
from harness.results.records import Evidence, Outcome


class Stop(StrEnum):
    """Why the harness killed a container."""

    TIME = "time"
    OUTPUT = "output"
    ENTRIES = "entries"
    GPU_MEMORY = "gpu_memory"
    MEMORY = "memory"


@dataclass(frozen=True)
class Observed:
    """What was seen of one container, before its output is looked at.

    Attributes:
        exit_code: As the engine reports it; None if it does not know.
        oom_killed: The engine's flag, or the kernel's count of kills.
        stop: Why we killed it, if we did.
        stop_value: The value seen when we did, in the limit's unit.
        output_bytes: Everything it left under the output folder.
        output_entries: Files and folders it left there.
        peak_memory_bytes: The kernel's peak, where it was measured.
    """

    exit_code: int | None
    oom_killed: bool
    run_s: float
    stop: Stop | None = None
    stop_value: float | None = None
    output_bytes: int = 0
    output_entries: int = 0
    peak_memory_bytes: int | None = None
    last_log_line: str = ""
    engine_error: str = ""


OUTPUT_ENTRIES_LIMIT = 10_000
"""Files and folders a container may leave; the contract asks for one."""

_INIT_COULD_NOT_EXEC = "[FATAL tini"


def largest_file_bytes(limits: Limits) -> int:
    """Return the largest file that a container may write; shared memory segments are files too."""
    return max(limits.output_bytes, limits.tmp_bytes, limits.shm_bytes)


def classify(seen: Observed, limits: Limits) -> tuple[Outcome, Evidence] | None:
    """Return how the container itself failed, or None if only its output can still fail it.

    A kill for memory outranks everything: the time-out of a parent that waits for its killed child, and
    an exit code of 0, both follow from it.
    """
    code = seen.exit_code

    def evidence(summary: str, *, limit: float | None = None, value: float | None = None) -> Evidence:
        return Evidence(
            summary=summary,
            exit_code=code,
            oom_killed=seen.oom_killed,
            limit=limit,
            value=value,
            last_log_line=seen.last_log_line,
        )

    if seen.oom_killed or seen.stop is Stop.MEMORY:
        value = seen.peak_memory_bytes if seen.stop is not Stop.MEMORY else seen.stop_value
        killed = (
            "the kernel killed a process for memory" if seen.oom_killed else "killed over the memory limit"
        )
        return Outcome.MEMORY_LIMIT, evidence(
            f"{killed}; limit {_bytes(limits.memory_bytes)}", limit=limits.memory_bytes, value=value
        )
    if seen.stop is Stop.GPU_MEMORY:
        limit = limits.gpu_memory_bytes or 0
        return Outcome.GPU_MEMORY_LIMIT, evidence(
            f"used {_bytes(seen.stop_value or 0)} of device memory; limit {_bytes(limit)}",
            limit=limit,
            value=seen.stop_value,
        )
    if seen.stop is Stop.OUTPUT or seen.output_bytes >= limits.output_bytes:
        return Outcome.OUTPUT_LIMIT, evidence(
            f"wrote {_bytes(limits.output_bytes)} or more",
            limit=limits.output_bytes,
            value=max(seen.output_bytes, seen.stop_value or 0),
        )
    if seen.stop is Stop.ENTRIES or seen.output_entries > OUTPUT_ENTRIES_LIMIT:
        return Outcome.OUTPUT_LIMIT, evidence(
            f"left more than {OUTPUT_ENTRIES_LIMIT} files, or folders without end",
            limit=OUTPUT_ENTRIES_LIMIT,
            value=seen.output_entries,
        )
    if code == 128 + signal.SIGXFSZ:
        largest = largest_file_bytes(limits)
        return Outcome.OUTPUT_LIMIT, evidence(
            f"a file reached the largest size allowed, {_bytes(largest)} (SIGXFSZ)", limit=largest
        )
    if seen.stop is Stop.TIME or seen.run_s > limits.time_s:
        return Outcome.TIME_LIMIT, evidence(
            f"still running after {limits.time_s:g} s", limit=limits.time_s, value=seen.run_s
        )
    if code in (126, 127) and seen.last_log_line.startswith(_INIT_COULD_NOT_EXEC):
        return Outcome.START_FAILED, evidence(
            "the image holds no program of that name, or none for this platform"
        )
    if code is None:
        return Outcome.INFRASTRUCTURE, evidence(
            f"the engine lost the exit code: {seen.engine_error or 'no reason given'}"
        )
    if code != 0:
        return Outcome.CRASHED, evidence(f"exit code {code}{_signal_name(code)}")
    return None


def _signal_name(code: int) -> str:
    try:
        return f" ({signal.Signals(code - 128).name})" if code > 128 else ""
    except ValueError:
        return ""


def _bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"
