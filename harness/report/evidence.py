"""Read of a run's journal what the report tells of single cases, and no more of it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from pydantic import TypeAdapter, ValidationError
from typing_extensions import TypedDict

from harness.results.journal import CASES_FILE, complete_lines, damaged
from harness.results.records import ExecutionRecord


class _Named(TypedDict):
    case: str


_NAMED = TypeAdapter(_Named)


def last_executions(folder: Path, cases: Collection[str]) -> dict[str, ExecutionRecord]:
    """Return the last record of each of these cases that has one.

    Args:
        folder: The run's folder.
        cases: The cases; the lines of others are passed over without making records of them.

    Raises:
        InfrastructureError: a line is damaged.
    """
    path = folder / CASES_FILE
    lines: dict[str, bytes] = {}
    try:
        for line in complete_lines(path) if cases else ():
            case = _NAMED.validate_json(line)["case"]
            if case in cases:
                lines[case] = line
        return {case: ExecutionRecord.model_validate_json(line) for case, line in lines.items()}
    except ValidationError as error:
        raise damaged(path, error) from error
