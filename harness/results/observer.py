"""What a run tells whoever watches it. The harness itself prints nothing."""

from __future__ import annotations

from pathlib import Path

from harness.results.records import ExecutionRecord, RunRecord, ScoreRecord


class Observer:
    """Watches a run without a word: override what you want to see.

    All calls come from the thread that called `evaluate`, except those of `case_stage`.
    """

    def preparing(self, what: str, done: int, total: int) -> None:
        """Something long goes on before the first case, such as hashing the data set."""

    def run_opened(self, record: RunRecord, folder: Path, *, total: int, left: int) -> None:
        """The run's folder is there; `left` of its `total` cases are still to run."""

    def case_started(self, case: str, attempt: int) -> None:
        """A case is about to be staged."""

    def case_stage(self, case: str, stage: str) -> None:
        """A case reached a stage: stage, run, harvest or score. Comes from a worker's thread."""

    def case_finished(self, execution: ExecutionRecord) -> None:
        """A case's outcome is on disk."""

    def case_scored(self, score: ScoreRecord) -> None:
        """A case's score is on disk."""

    def note(self, text: str) -> None:
        """Something a person should know, such as containers that an earlier run left behind."""
