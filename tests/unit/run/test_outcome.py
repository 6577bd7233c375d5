"""Outcomes follow from evidence, and from nothing that a submission says."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.challenge import Limits
from harness.results.records import Outcome
from harness.run.outcome import OUTPUT_ENTRIES_LIMIT, Observed, Stop, classify

MIB = 1024**2
LIMITS = Limits(memory_bytes=512 * MIB, time_s=60, gpu_memory_bytes=4096 * MIB, output_bytes=100 * MIB)
FINE = Observed(exit_code=0, oom_killed=False, run_s=10.0)

TABLE = [
    ("ended well", FINE, None),
    ("any other exit code", replace(FINE, exit_code=1), Outcome.CRASHED),
    ("137 alone proves nothing", replace(FINE, exit_code=137), Outcome.CRASHED),
    (
        "137 at the limit without a kill",
        replace(FINE, exit_code=137, peak_memory_bytes=512 * MIB),
        Outcome.CRASHED,
    ),
    ("a killed child of a parent that exits 0", replace(FINE, oom_killed=True), Outcome.MEMORY_LIMIT),
    ("killed for memory", replace(FINE, exit_code=137, oom_killed=True), Outcome.MEMORY_LIMIT),
    (
        "a time-out that follows from a kill for memory",
        replace(FINE, exit_code=137, oom_killed=True, stop=Stop.TIME, run_s=60.1),
        Outcome.MEMORY_LIMIT,
    ),
    (
        "our kill over sampled memory",
        replace(FINE, exit_code=137, stop=Stop.MEMORY, stop_value=600 * MIB),
        Outcome.MEMORY_LIMIT,
    ),
    (
        "our kill over device memory",
        replace(FINE, exit_code=137, stop=Stop.GPU_MEMORY, stop_value=5e9),
        Outcome.GPU_MEMORY_LIMIT,
    ),
    (
        "our kill at the deadline",
        replace(FINE, exit_code=137, stop=Stop.TIME, run_s=60.1),
        Outcome.TIME_LIMIT,
    ),
    ("an exit just after the deadline", replace(FINE, run_s=60.01), Outcome.TIME_LIMIT),
    (
        "our kill over output",
        replace(FINE, exit_code=137, stop=Stop.OUTPUT, stop_value=101 * MIB),
        Outcome.OUTPUT_LIMIT,
    ),
    ("too much output at the end", replace(FINE, output_bytes=101 * MIB), Outcome.OUTPUT_LIMIT),
    (
        "as much output as a file may have",
        replace(FINE, exit_code=1, output_bytes=100 * MIB),
        Outcome.OUTPUT_LIMIT,
    ),
    ("too many files", replace(FINE, output_entries=OUTPUT_ENTRIES_LIMIT + 1), Outcome.OUTPUT_LIMIT),
    ("our kill over files", replace(FINE, exit_code=137, stop=Stop.ENTRIES), Outcome.OUTPUT_LIMIT),
    ("SIGXFSZ", replace(FINE, exit_code=153), Outcome.OUTPUT_LIMIT),
    (
        "no such program",
        replace(FINE, exit_code=127, last_log_line="[FATAL tini (7)] exec /bin/bash failed: No such file"),
        Outcome.START_FAILED,
    ),
    (
        "127 from a script",
        replace(FINE, exit_code=127, last_log_line="sh: python: not found"),
        Outcome.CRASHED,
    ),
    ("closed folders", replace(FINE, exit_code=137, stop=Stop.CLOSED), Outcome.OUTPUT_LIMIT),
    (
        "too many open files",
        replace(FINE, exit_code=137, stop=Stop.OPEN_FILES, stop_value=600_000),
        Outcome.CRASHED,
    ),
    (
        "a GPU that the host took away",
        replace(FINE, exit_code=1, gpu_taken=True),
        Outcome.INFRASTRUCTURE,
    ),
    ("a GPU that the host took away when it was no longer needed", replace(FINE, gpu_taken=True), None),
    ("the engine does not know", replace(FINE, exit_code=None), Outcome.INFRASTRUCTURE),
]


@pytest.mark.parametrize(("what", "seen", "outcome"), TABLE, ids=[row[0] for row in TABLE])
def test_the_outcome_follows_from_the_evidence(what: str, seen: Observed, outcome: Outcome | None) -> None:
    verdict = classify(seen, LIMITS)
    assert (verdict.outcome if verdict else None) is outcome


def test_evidence_names_the_limit_and_what_was_seen() -> None:
    verdict = classify(replace(FINE, stop=Stop.TIME, run_s=60.2, last_log_line="case 3 of 9"), LIMITS)
    assert verdict is not None
    evidence = verdict.evidence
    assert (evidence.limit, evidence.value, evidence.last_log_line) == (60.0, 60.2, "case 3 of 9")
    assert evidence.summary == "still running after 60 s"


HINTS = [
    (replace(FINE, exit_code=139), "exit code 139 (SIGSEGV)"),
    (replace(FINE, exit_code=3, silent=True), "exit code 3; it printed nothing"),
    (replace(FINE, exit_code=1, full={"/dev/shm": 64 * MIB}), "exit code 1; /dev/shm was full (64 MiB)"),
    (replace(FINE, exit_code=135, full={"/tmp": MIB}), "exit code 135 (SIGBUS); /tmp was full (1 MiB)"),
]


@pytest.mark.parametrize(("seen", "summary"), HINTS, ids=[row[1] for row in HINTS])
def test_what_may_explain_a_crash_is_said(seen: Observed, summary: str) -> None:
    verdict = classify(seen, LIMITS)
    assert verdict is not None
    assert verdict.evidence.summary == summary


def test_a_bus_error_and_a_read_only_file_system_are_explained() -> None:
    for seen, word in (
        (replace(FINE, exit_code=135), "as when /dev/shm is full"),
        (replace(FINE, exit_code=1, met_read_only=True), r"writable_inputs"),
    ):
        verdict = classify(seen, LIMITS)
        assert verdict is not None
        assert word in verdict.evidence.summary


def test_a_full_folder_explains_a_program_that_hangs() -> None:
    verdict = classify(replace(FINE, stop=Stop.TIME, run_s=60.2, full={"/dev/shm": MIB}), LIMITS)
    assert verdict is not None
    assert verdict.evidence.summary == "still running after 60 s; /dev/shm was full (1 MiB)"
