"""Show a run while it goes on: a bar and the case's stage on a terminal, one line per case elsewhere."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harness import text
from harness.challenge.metrics import facts_of, in_a_line
from harness.cli.display import Advance, is_muted, plain_progress, say, stderr
from harness.results.observer import Observer
from harness.results.records import ExecutionRecord, Outcome, RunRecord, ScoreRecord
from harness.text import printable

_MIB = 1024**2


class ConsoleObserver(Observer):
    """Tells a person on stderr what a run does. A context manager, so that the bar is taken down."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._preparing: tuple[str, Advance] | None = None
        self._left = self._ended = 0
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and not is_muted():
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=stderr(), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("preparing", total=None)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def preparing(self, what: str, done: int, total: int) -> None:
        """See `Observer`."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=what, completed=done, total=total)
            return
        if self._preparing is None or self._preparing[0] != what:
            self._preparing = (what, plain_progress(what))
        self._preparing[1](done, total)

    def run_opened(self, record: RunRecord, folder: Path, *, total: int, left: int) -> None:
        """See `Observer`."""
        self._left, self._ended, self._began = left, 0, time.monotonic()
        done = total - left
        kept = f", {done} of {total} cases done before" if done else ""
        self.note(
            f"{record.team} on {record.challenge.name}: {left} case(s) to run{kept}; results in {folder}"
        )
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description="running", completed=done, total=total)

    def case_stage(self, case: str, stage: str) -> None:
        """See `Observer`."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=f"{printable(case)}: {stage}")

    def case_finished(self, execution: ExecutionRecord) -> None:
        """See `Observer`."""
        self.note(f"{case_line(execution)}{self._time_left()}")
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def _time_left(self) -> str:
        """Say how long the rest will take at the pace so far; the bar of a terminal shows that itself."""
        self._ended += 1
        rest = self._left - self._ended
        if self._bar is not None or rest <= 0:
            return ""
        return f"; about {text.about((time.monotonic() - self._began) / self._ended * rest)} left"

    def case_scored(self, score: ScoreRecord) -> None:
        """See `Observer`."""
        self.note(score_line(score))

    def note(self, words: str) -> None:
        """See `Observer`."""
        if self._bar is not None:
            self._bar.console.print(printable(words), markup=False, highlight=False, soft_wrap=True)
        else:
            say(words)


class ManyObserver(ConsoleObserver):
    """Tells of many runs at once: one bar over all of them, and the team in front of each line."""

    def __init__(self) -> None:
        super().__init__()
        self._total = 0
        self._done = 0

    def of_team(self, team: str) -> Observer:
        """Return who is told of one team's run."""
        return _OfTeam(self, team)

    def opened(self, *, total: int, left: int) -> None:
        """Add a run to the bar."""
        self._total += total
        self._done += total - left
        self._show()

    def ended(self, text: str) -> None:
        """Tell of one case."""
        self.note(text)
        self._done += 1
        self._show()

    def _show(self) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description="running", completed=self._done, total=self._total)


class _OfTeam(Observer):
    """Hands on what happens to one team's run."""

    def __init__(self, everybody: ManyObserver, team: str) -> None:
        self._everybody = everybody
        self._team = team

    def run_opened(self, record: RunRecord, folder: Path, *, total: int, left: int) -> None:
        self._everybody.note(f"{self._team}: {left} of {total} case(s) to run; results in {folder}")
        self._everybody.opened(total=total, left=left)

    def case_finished(self, execution: ExecutionRecord) -> None:
        self._everybody.ended(f"  {self._team}, {case_line(execution).strip()}")

    def case_scored(self, score: ScoreRecord) -> None:
        self._everybody.note(f"  {self._team}, {score_line(score).strip()}")

    def note(self, text: str) -> None:
        self._everybody.note(f"{self._team}: {text}")


def case_line(execution: ExecutionRecord) -> str:
    """Return one case's outcome in one line: time, memory, and the evidence where it failed."""
    facts = []
    if execution.stages.run_s is not None:
        facts.append(f"{execution.stages.run_s:.1f} s")
    if execution.usage.peak_memory_bytes is not None:
        facts.append(f"peak {execution.usage.peak_memory_bytes / _MIB:.0f} MiB")
    if execution.outcome is not Outcome.SUCCEEDED:
        facts.append(execution.evidence.summary)
        if execution.evidence.last_log_line:
            facts.append(f"last log line: {execution.evidence.last_log_line}")
    said = f" ({'; '.join(facts)})" if facts else ""
    return f"  {execution.case}: {execution.outcome.value}{said}"


def score_line(score: ScoreRecord) -> str:
    """Return one case's means over the labels that its reference holds, and its own scores.

    A label in neither volume has a score by rule alone; an empty prediction would look like something.
    """
    if not score.usable:
        return f"  {score.case}: no usable prediction, counts as failed ({score.profile})"
    held = [label.scores for label in score.scores if label.reference_ml != 0]
    values: dict[str, list[float]] = {}
    for scores in (*held, score.case_scores):
        for key, value in scores.items():
            values.setdefault(key, []).extend([] if value is None else [value])
    means = []
    for key, known in values.items():
        means.append(in_a_line(facts_of(key), sum(known) / len(known) if known else None))
    nothing = (
        "the reference holds no label"
        if any(label.scores for label in score.scores)
        else "no label is annotated"
    )
    return f"  {score.case}: {', '.join(means) or nothing} ({score.profile})"
