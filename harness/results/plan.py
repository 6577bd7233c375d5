"""What is left to do of a run: pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.data.dataset import Case
from harness.results.records import ExecutionRecord, Outcome


@dataclass(frozen=True)
class Planned:
    """A case to run, and which attempt it is."""

    case: Case
    attempt: int


def plan(cases: Sequence[Case], executions: Iterable[ExecutionRecord]) -> list[Planned]:
    """Return the cases without a verdict, in the data set's order.

    Only an infrastructure failure is tried again: every other outcome is the submission's own.
    """
    last = {execution.case: execution for execution in executions}
    left = []
    for case in cases:
        execution = last.get(case.id)
        if execution is None:
            left.append(Planned(case, 1))
        elif execution.outcome is Outcome.INFRASTRUCTURE:
            left.append(Planned(case, execution.attempt + 1))
    return left
