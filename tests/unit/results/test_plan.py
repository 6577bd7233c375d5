"""What is left to do is decided by what is on disk."""

from __future__ import annotations

from datetime import UTC, datetime

from harness.data.dataset import Case
from harness.results.plan import Planned, plan
from harness.results.records import Evidence, ExecutionRecord, Outcome

CASES = [Case(name, None, None) for name in ("a", "b", "c")]


def execution(case: str, outcome: Outcome, attempt: int = 1) -> ExecutionRecord:
    return ExecutionRecord(
        case=case,
        attempt=attempt,
        outcome=outcome,
        evidence=Evidence(summary=""),
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_everything_is_left_at_first() -> None:
    assert plan(CASES, []) == [Planned(case, 1) for case in CASES]


def test_a_verdict_is_final_whatever_it_is() -> None:
    verdicts = [outcome for outcome in Outcome if outcome is not Outcome.INFRASTRUCTURE]
    for outcome in verdicts:
        assert plan(CASES[:1], [execution("a", outcome)]) == []


def test_an_infrastructure_failure_is_tried_again() -> None:
    failed = [execution("b", Outcome.INFRASTRUCTURE, 1), execution("b", Outcome.INFRASTRUCTURE, 2)]
    assert plan(CASES[1:2], failed) == [Planned(CASES[1], 3)]


def test_the_last_attempt_counts() -> None:
    history = [execution("b", Outcome.INFRASTRUCTURE), execution("b", Outcome.CRASHED, 2)]
    assert plan(CASES[1:2], history) == []


def test_the_order_is_the_data_sets() -> None:
    left = plan(CASES, [execution("c", Outcome.INFRASTRUCTURE), execution("a", Outcome.SUCCEEDED)])
    assert [planned.case.id for planned in left] == ["b", "c"]
