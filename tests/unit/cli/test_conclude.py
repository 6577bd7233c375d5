"""The exit code of a run follows from its outcomes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.cli.entry import conclude
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, EXIT_SUBMISSION_FAILED
from harness.results.folder import RunResults
from harness.results.records import Evidence, ExecutionRecord, Outcome

GOOD, BAD, LOST = Outcome.SUCCEEDED, Outcome.CRASHED, Outcome.INFRASTRUCTURE


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((GOOD, GOOD), EXIT_OK),
        ((GOOD, BAD), EXIT_OK),
        ((BAD, BAD), EXIT_SUBMISSION_FAILED),
        ((GOOD, LOST), EXIT_INFRASTRUCTURE),
        ((LOST, LOST), EXIT_INFRASTRUCTURE),
    ],
)
def test_a_lost_case_is_never_a_success(outcomes: tuple[Outcome, ...], code: int) -> None:
    executions = tuple(
        ExecutionRecord(
            case=str(number), outcome=outcome, evidence=Evidence(summary=""), started_at=datetime.now(UTC)
        )
        for number, outcome in enumerate(outcomes)
    )
    record: Any = SimpleNamespace(team="team")
    assert conclude(RunResults(Path("run"), record, executions, ())) == code
