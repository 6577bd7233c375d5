"""Why cases failed: the same failure of a method once, with its evidence, and what its log said last.

A team reads why its own cases failed even where the set is hidden: then scrubbed of whatever could carry a
case out of the container, and no more than a budget in all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness import text as format_
from harness.report.cases import outcome_name
from harness.report.scene import Scene
from harness.results.records import ExecutionRecord

_MOST_READ = 400
_TAIL_BYTES = 6000
_TAIL_LINES = 40
_SAME_LINE = re.compile(r"\d+")
HIDDEN_LETTERS = 3000
"""What a team may learn of a hidden set's logs in all: enough for tracebacks, too little for pictures."""
_HIDDEN_LOGS = 3
_LONG_WORD = re.compile(r"\S{33,}")
_NUMBER = re.compile(r"(?<![\w.])(?<!line )-?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Failure:
    """One way in which cases of a method failed.

    Attributes:
        index: The method's row.
        team: Its name.
        cases: The cases that failed so; empty where the set is hidden.
        count: How many they are.
        outcome: How they ended.
        summary: What it rests on, of the first of them.
        exit_code: Its exit code.
        limit: The limit that it reached, and what was seen.
        last_line: The last line of its log.
    """

    index: int
    team: str
    cases: tuple[str, ...]
    count: int
    outcome: str
    summary: str
    exit_code: str
    limit: str
    last_line: str


def failures(scene: Scene, *, only: int | None = None) -> tuple[list[Failure], int]:
    """List the ways in which cases failed, the commonest of each method first, and count the failed cases.

    Args:
        scene: The division.
        only: One row; by default all.
    """
    rows = range(len(scene.rows)) if only is None else [only]
    listed, read = [], 0
    for row in rows:
        groups: dict[tuple[str, ...], list[Failure]] = {}
        for case in np.flatnonzero(scene.failed[:, row])[: max(_MOST_READ - read, 0)]:
            failure = _failure(scene, row, int(case))
            groups.setdefault(_likeness(failure), []).append(failure)
            read += 1
        listed += sorted((_grouped(scene, alike) for alike in groups.values()), key=lambda item: -item.count)
    return listed, int(scene.failed[:, list(rows)].sum())


def _likeness(failure: Failure) -> tuple[str, ...]:
    last = _SAME_LINE.sub("#", failure.last_line.replace(failure.cases[0], "#"))
    return failure.outcome, failure.exit_code, failure.limit.partition(" (")[0], last


def _grouped(scene: Scene, alike: Sequence[Failure]) -> Failure:
    first = alike[0]
    hidden = not scene.shows_cases
    return Failure(
        index=first.index,
        team=first.team,
        cases=() if hidden else tuple(item.cases[0] for item in alike),
        count=len(alike),
        outcome=first.outcome,
        summary=scrubbed(first.summary, scene) if hidden else first.summary,
        exit_code=first.exit_code,
        limit=first.limit,
        last_line=scrubbed(first.last_line, scene)[:200] if hidden else first.last_line,
    )


def _failure(scene: Scene, row: int, case: int) -> Failure:
    name = scene.division.cases[case]
    record = scene.evidence[row].execution(name)
    evidence = record.evidence if record is not None else None
    return Failure(
        index=row,
        team=scene.rows[row].team,
        cases=(name,),
        count=1,
        outcome=outcome_name(scene, case, row).replace("_", " "),
        summary=evidence.summary if evidence is not None else "no record of this case",
        exit_code="" if evidence is None or evidence.exit_code is None else str(evidence.exit_code),
        limit=_limit(record),
        last_line=evidence.last_log_line if evidence is not None else "",
    )


def _limit(record: ExecutionRecord | None) -> str:
    if record is None or record.evidence.limit is None:
        return ""
    seen = record.evidence.value
    return f"{_number(record.evidence.limit)}{'' if seen is None else f' (seen {_number(seen)})'}"


def _number(value: float) -> str:
    return format_.size(value) if value >= 1024**2 else f"{value:,.4g}"


def scrubbed(text: str, scene: Scene) -> str:
    """Return a team's text without names of hidden cases, numbers (but those of lines) and long words."""
    for case in scene.division.cases:
        if case in text:
            text = text.replace(case, "‹case›")
    return _NUMBER.sub("#", _LONG_WORD.sub("‹…›", text))


def hidden_logs(scene: Scene, index: int) -> Iterator[tuple[str, str, str]]:
    """Yield the ends of a team's logs for its own eyes: (what, outcome, text) of a failure of each kind.

    All of them together hold no more than `HIDDEN_LETTERS`.
    """
    room, seen = HIDDEN_LETTERS, set()
    for case in map(int, np.flatnonzero(scene.failed[:, index])):
        failure = _failure(scene, index, case)
        tail = log_tail(scene.runs[index].folder / "cases" / failure.cases[0] / "container.log")
        if not tail or _likeness(failure) in seen:
            continue
        seen.add(_likeness(failure))
        text = scrubbed(tail, scene)[-min(room, HIDDEN_LETTERS // _HIDDEN_LOGS) :]
        room -= len(text)
        yield "a failed case", failure.outcome, text
        if room <= 0 or len(seen) == _HIDDEN_LOGS:
            return


def log_tail(path: Path) -> str:
    """Return the last lines of a log without control signs; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            content = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [format_.printable(line.expandtabs(4)) for line in content.splitlines()]
    return "\n".join(lines[-_TAIL_LINES:])
