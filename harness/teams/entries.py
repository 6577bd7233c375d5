"""What became of each who took part: one table for the organiser, one short text for each team.

results/CHALLENGE/entries.csv        a line for each team and source: status, why, what helps, how far
results/CHALLENGE/TEAM/notice.txt    the same of one team, with nothing about single cases of a hidden set
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from harness.errors import ConfigurationError, HarnessError
from harness.files import write_whole
from harness.results.folder import RunResults, check_team
from harness.results.records import Outcome
from harness.teams.roster import Entrant
from harness.text import csv_text, printable

ENTRIES_FILE = "entries.csv"
NOTICE_FILE = "notice.txt"


class Status(StrEnum):
    """How far somebody who took part came."""

    WAITING = "waiting"
    REJECTED = "rejected"
    EVALUATED = "evaluated"
    FAILED = "failed"
    OUT_OF_QUOTA = "out of quota"
    CUT_OFF = "cut off"


_MEANING = {
    Status.WAITING: "Your submission was taken in. Its evaluation has not ended yet.",
    Status.REJECTED: "Your submission was not evaluated.",
    Status.EVALUATED: "Your submission was evaluated.",
    Status.FAILED: "Your submission was evaluated, and no case succeeded.",
    Status.OUT_OF_QUOTA: "Your submission used up its time before all cases were run; the rest failed.",
    Status.CUT_OFF: "The evaluation of your submission was cut off on our side. It will be taken up again.",
}
_OUTCOME = {
    Outcome.SUCCEEDED: "succeeded",
    Outcome.TIME_LIMIT: "still ran at the time limit",
    Outcome.MEMORY_LIMIT: "ran out of memory",
    Outcome.GPU_MEMORY_LIMIT: "used more GPU memory than allowed",
    Outcome.OUTPUT_LIMIT: "wrote more than allowed",
    Outcome.CRASHED: "crashed",
    Outcome.NO_OUTPUT: "ended without the output that was asked for",
    Outcome.INVALID_OUTPUT: "left an output that is no valid prediction",
    Outcome.START_FAILED: "could not be started",
    Outcome.INFRASTRUCTURE: "failed on our side and will be tried again",
}


@dataclass(frozen=True)
class EntryRow:
    """One line of the organiser's table.

    Attributes:
        why: What is wrong; empty where nothing is.
        mend: What would help.
        cases: How many there are.
        verdicts: How many of them came to one.
        seen: When it was first met.
        changed: When this line was last written.
    """

    team: str
    source: str
    status: str = Status.WAITING
    why: str = ""
    mend: str = ""
    run: str = ""
    cases: int = 0
    verdicts: int = 0
    succeeded: int = 0
    seen: str = ""
    changed: str = ""


def rejected(entrant: Entrant, error: HarnessError) -> EntryRow:
    """Return the line of somebody who is not evaluated, and why."""
    where = f" ({error.where})" if error.where else ""
    return EntryRow(
        entrant.name, entrant.source, Status.REJECTED, why=f"{error.what}{where}", mend=error.mend or ""
    )


def cut_off(row: EntryRow, error: HarnessError) -> EntryRow:
    """Return the line of somebody whose evaluation failed, for reasons that are not the submission's."""
    return replace(row, status=Status.CUT_OFF, why=error.one_line())


def concluded(row: EntryRow, results: RunResults, *, out_of_quota: bool = False) -> EntryRow:
    """Return the line of a run as it is on disk now."""
    executions = results.final_executions()
    outcomes = [execution.outcome for execution in executions.values()]
    verdicts = sum(outcome is not Outcome.INFRASTRUCTURE for outcome in outcomes)
    succeeded = outcomes.count(Outcome.SUCCEEDED)
    cases = len(results.record.dataset.cases)
    status, why = Status.EVALUATED, ""
    if out_of_quota and verdicts < cases:
        status, why = (
            Status.OUT_OF_QUOTA,
            f"{cases - verdicts} cases were not run: the team's time is used up",
        )
    elif verdicts < cases:
        status, why = Status.CUT_OFF, f"{cases - verdicts} cases have no verdict"
    elif not succeeded:
        status = Status.FAILED
        why = next(iter(executions.values())).evidence.summary
    return replace(
        row,
        status=status,
        why=why,
        run=results.record.run,
        cases=cases,
        verdicts=verdicts,
        succeeded=succeeded,
    )


class EntryTable:
    """The organiser's table, kept on disk with each change.

    Args:
        folder: `results/CHALLENGE`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._rows = {(row.team, row.source): row for row in read_entries(folder)}

    @property
    def rows(self) -> list[EntryRow]:
        """Every line, in the order in which they were first met."""
        return list(self._rows.values())

    def seen(self, team: str, source: str) -> datetime | None:
        """When somebody was first met; None if never before."""
        row = self._rows.get((team, source))
        return datetime.fromisoformat(row.seen) if row is not None and row.seen else None

    def put(self, row: EntryRow, results: RunResults | None = None) -> EntryRow:
        """Write a line in the place of an earlier one of the same team and source, and the team's text."""
        now = datetime.now(UTC).isoformat(timespec="seconds")
        earlier = self._rows.get((row.team, row.source))
        line = replace(row, seen=earlier.seen if earlier is not None else now, changed=now)
        self._rows[row.team, row.source] = line
        self._folder.mkdir(parents=True, exist_ok=True)
        write_whole(self._folder / ENTRIES_FILE, _table(self._rows.values()), durable=True)
        _write_notice(self._folder, line, results)
        return line


def read_entries(folder: Path) -> list[EntryRow]:
    """Return the organiser's table of a challenge; empty where there is none.

    Raises:
        ConfigurationError: the file is no such table.
    """
    path = folder / ENTRIES_FILE
    if not path.is_file():
        return []
    names = [each.name for each in fields(EntryRow)]
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != names:
            raise ConfigurationError(
                "this is no table of entries", where=path, mend="Move it away; it is made anew."
            )
        return [_row(row) for row in reader]


def _row(row: dict[str, str]) -> EntryRow:
    counts: dict[str, Any] = {name: int(row[name] or 0) for name in ("cases", "verdicts", "succeeded")}
    words: dict[str, Any] = {
        name: value.removeprefix("'") for name, value in row.items() if name not in counts
    }
    return EntryRow(**words, **counts)


def _table(rows: Iterable[EntryRow]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([each.name for each in fields(EntryRow)])
    for row in rows:
        cells = asdict(row).values()
        writer.writerow([csv_text(cell) if isinstance(cell, str) else cell for cell in cells])
    return buffer.getvalue()


def notice(row: EntryRow, results: RunResults | None = None) -> str:
    """Return what a team may read: how many cases ended how, and no path but its file's name."""
    lines = [f"Team {row.team}, {Path(row.source).name}, {row.changed}", ""]
    lines.append(_MEANING[Status(row.status)])
    if row.status == Status.REJECTED:
        shown = row.why.replace(str(Path(row.source).parent) + "/", "")
        lines += ["", f"Why: {printable(shown)}"]
        if row.mend:
            lines.append(f"What helps: {printable(row.mend)}")
    if results is not None:
        counts: dict[Outcome, int] = {}
        for execution in results.final_executions().values():
            counts[execution.outcome] = counts.get(execution.outcome, 0) + 1
        lines += ["", f"Of {row.cases} cases:"]
        lines += [f"  {counts[outcome]} {words}" for outcome, words in _OUTCOME.items() if outcome in counts]
        if left := row.cases - sum(counts.values()):
            lines.append(f"  {left} not run")
    return "\n".join(lines) + "\n"


def _write_notice(folder: Path, row: EntryRow, results: RunResults | None) -> None:
    try:
        check_team(row.team)
    except ConfigurationError:
        return  # a name that can be no folder's; the organiser's table has it
    (folder / row.team).mkdir(exist_ok=True)
    write_whole(folder / row.team / NOTICE_FILE, notice(row, results))
