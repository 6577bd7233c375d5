"""Decide how a case ended, from evidence alone: pure, and in one place."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from harness.challenge import Limits
from harness.gate.output import Verdict
from harness.results.records import Evidence, Outcome


class Stop(StrEnum):
    """Why the harness killed a container."""

    TIME = "time"
    OUTPUT = "output"
    ENTRIES = "entries"
    GPU_MEMORY = "gpu_memory"
    MEMORY = "memory"
    CLOSED = "closed"
    OPEN_FILES = "open_files"
    NETLINK = "netlink"


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
        full: Scratch folders in memory that were full, and their sizes in bytes.
        silent: It printed nothing at all.
        met_read_only: It printed, near its end, that a file system is read-only.
        gpu_taken: The host took its GPU away meanwhile.
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
    full: Mapping[str, int] = field(default_factory=dict)
    silent: bool = False
    met_read_only: bool = False
    gpu_taken: bool = False

    def evidence(self, summary: str, *, limit: float | None = None, value: float | None = None) -> Evidence:
        """Return a summary with what it rests on."""
        return Evidence(
            summary=summary,
            exit_code=self.exit_code,
            oom_killed=self.oom_killed,
            limit=limit,
            value=value,
            last_log_line=self.last_log_line,
        )


OPEN_FILES_LIMIT = 1 << 19
"""Open files of one container over all its processes. Closing them is work that its end waits for."""

NETLINK_BYTES_LIMIT = 4 << 20
"""What netlink sockets may hold, which is in no memory limit. Listing interfaces takes a few kilobytes."""

OUTPUT_ENTRIES_LIMIT = 10_000
"""Files and folders a container may leave; the contract asks for one."""

_INIT_COULD_NOT_EXEC = "[FATAL tini"


def largest_file_bytes(limits: Limits) -> int:
    """Return the largest file that a container may write; shared memory segments are files too."""
    return max(limits.output_bytes, limits.tmp_bytes, limits.shared_memory_bytes)


def sockets_limit_bytes(limits: Limits) -> int:
    """Return what TCP and UDP sockets may hold where the kernel counts it beside the memory limit."""
    return min(64 << 20, max(8 << 20, limits.memory_bytes // 8))


def classify(seen: Observed, limits: Limits) -> Verdict | None:
    """Return how the container itself failed, or None if only its output can still fail it.

    A kill for memory outranks everything: the time-out of a parent that waits for its killed child, and
    an exit code of 0, both follow from it.
    """
    return _memory(seen, limits) or _output(seen, limits) or _time(seen, limits) or _end(seen)


def _memory(seen: Observed, limits: Limits) -> Verdict | None:
    if seen.oom_killed or seen.stop is Stop.MEMORY:
        value = seen.peak_memory_bytes if seen.stop is not Stop.MEMORY else seen.stop_value
        killed = (
            "the kernel killed a process for memory" if seen.oom_killed else "killed over the memory limit"
        )
        summary = f"{killed}; limit {_bytes(limits.memory_bytes)}"
        return Verdict(Outcome.MEMORY_LIMIT, seen.evidence(summary, limit=limits.memory_bytes, value=value))
    if seen.stop is Stop.NETLINK:
        summary = f"held {_bytes(seen.stop_value or 0)} in netlink sockets, which no memory limit counts"
        evidence = seen.evidence(summary, limit=NETLINK_BYTES_LIMIT, value=seen.stop_value)
        return Verdict(Outcome.MEMORY_LIMIT, evidence)
    if seen.stop is Stop.GPU_MEMORY:
        limit = limits.gpu_memory_bytes or 0
        summary = f"used {_bytes(seen.stop_value or 0)} of device memory; limit {_bytes(limit)}"
        return Verdict(Outcome.GPU_MEMORY_LIMIT, seen.evidence(summary, limit=limit, value=seen.stop_value))
    return None


def _output(seen: Observed, limits: Limits) -> Verdict | None:
    if seen.stop is Stop.OUTPUT or seen.output_bytes >= limits.output_bytes:
        evidence = seen.evidence(
            f"wrote {_bytes(limits.output_bytes)} or more",
            limit=limits.output_bytes,
            value=max(seen.output_bytes, seen.stop_value or 0),
        )
    elif seen.stop is Stop.ENTRIES or seen.output_entries > OUTPUT_ENTRIES_LIMIT:
        evidence = seen.evidence(
            f"left more than {OUTPUT_ENTRIES_LIMIT} files, or folders without end",
            limit=OUTPUT_ENTRIES_LIMIT,
            value=seen.output_entries,
        )
    elif seen.stop is Stop.CLOSED:
        evidence = seen.evidence(
            "closed a folder of its output to the harness, so that nothing in it could be counted"
        )
    elif seen.exit_code == 128 + signal.SIGXFSZ:
        largest = largest_file_bytes(limits)
        evidence = seen.evidence(
            f"a file reached the largest size allowed, {_bytes(largest)} (SIGXFSZ)", limit=largest
        )
    else:
        return None
    return Verdict(Outcome.OUTPUT_LIMIT, evidence)


def _time(seen: Observed, limits: Limits) -> Verdict | None:
    if seen.stop is not Stop.TIME and seen.run_s <= limits.time_s:
        return None
    summary = f"still running after {limits.time_s:g} s{_hints(seen, silence=False)}"
    return Verdict(Outcome.TIME_LIMIT, seen.evidence(summary, limit=limits.time_s, value=seen.run_s))


def _end(seen: Observed) -> Verdict | None:
    code = seen.exit_code
    if code in (126, 127) and seen.last_log_line.startswith(_INIT_COULD_NOT_EXEC):
        summary = "the image holds no program of that name, or none for this platform"
        return Verdict(Outcome.START_FAILED, seen.evidence(summary))
    if code is None:
        summary = f"the engine lost the exit code: {seen.engine_error or 'no reason given'}"
        return Verdict(Outcome.INFRASTRUCTURE, seen.evidence(summary))
    if seen.stop is Stop.OPEN_FILES:
        summary = f"killed with {seen.stop_value:.0f} open files over all its processes"
        return Verdict(Outcome.CRASHED, seen.evidence(summary, limit=OPEN_FILES_LIMIT, value=seen.stop_value))
    if code != 0 and seen.gpu_taken:
        summary = f"exit code {code}, after a reload of systemd took the GPU away from the container"
        return Verdict(Outcome.INFRASTRUCTURE, seen.evidence(summary))
    if code != 0:
        summary = f"exit code {code}{_signal_name(code)}{_hints(seen)}"
        return Verdict(Outcome.CRASHED, seen.evidence(summary))
    return None


def _hints(seen: Observed, *, silence: bool = True) -> str:
    """Return what else was seen that may explain a failure, as the rest of a sentence."""
    hints = [f"{path} was full ({_bytes(size)})" for path, size in sorted(seen.full.items())]
    if seen.exit_code == 128 + signal.SIGBUS and not hints:
        hints.append("memory that is mapped from a file lost its file, as when /dev/shm is full")
    if seen.met_read_only:
        hints.append(
            "inputs and root are read-only: write to $FLARE_OUTPUTS or /tmp, "
            "or opt out with writable_inputs or writable_root"
        )
    if silence and seen.silent:
        hints.append("it printed nothing")
    return "".join(f"; {hint}" for hint in hints)


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
