"""The leaderboard on a terminal: as many columns as fit, the most telling first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from harness import text
from harness.leaderboard.columns import Column, group_columns, organ_columns, resource_columns
from harness.leaderboard.files import host_letter, legend, mark_letters
from harness.leaderboard.model import Division, Leaderboard, Row

_GAP = 3
_GIVEN_UP = (
    "memory_auc_byte_s",
    "gpu_memory_auc_byte_s",
    "runtime_p95_s",
    "nsd_",
    "peak_gpu_memory_bytes",
    "peak_memory_bytes",
    "dsc_",
    "runtime_median_s",
    "",
)
"""Beginnings of the keys of columns that a narrow terminal goes without, in this order, from the right."""


@dataclass(frozen=True)
class _Shown:
    """A column ready to print; `key` is empty for those that always stay."""

    key: str
    title: str
    cells: list[Text]
    justify: JustifyMethod = "right"

    @property
    def width(self) -> int:
        return max(map(len, [self.title, *(cell.plain for cell in self.cells)])) + _GAP


def render_terminal(leaderboard: Leaderboard, console: Console, *, per_organ: bool = False) -> None:
    """Print the tables: rounded values, and in brackets their ratio to the column's best.

    Args:
        leaderboard: What to print.
        console: Where. Columns that do not fit are left out, and named.
        per_organ: Also print DSC and NSD of each organ.
    """
    challenge = leaderboard.challenge
    for note in leaderboard.notes:
        console.print(Text(note, style="yellow"))
    for division in leaderboard.divisions:
        facts = (challenge.title, division.dataset, f"{len(division.cases)} cases", division.profile)
        console.print(Text(text.printable(" · ".join(facts)), style="bold"))
        _print_fitting(_columns(leaderboard, division), console)
        for line in legend(division):
            console.print(Text(line, style="dim"))
        if per_organ:
            for metric in ("dsc", "nsd"):
                console.print(Text(f"\n{metric.upper()} by organ, %", style="bold"))
                _print_fitting(_organs(division, organ_columns(challenge, metric)), console)
    if not leaderboard.divisions:
        console.print("no runs to rank")


def _columns(leaderboard: Leaderboard, division: Division) -> list[_Shown]:
    rows = division.rows
    numbers = [*group_columns(leaderboard.challenge), *resource_columns(rows)]
    intervals = [Text(text.rank_interval(row.rank_low, row.rank_high)) for row in rows]
    failures = [Text(f"{row.failed}/{row.cases}", style="red" if row.failed else "") for row in rows]
    return [
        _Shown("", "rank", [Text(str(row.rank or "–")) for row in rows]),
        _Shown("", f"{100 * leaderboard.confidence:g} %", intervals, "center"),
        _Shown("", "team", [Text(text.printable(row.team)) for row in rows], "left"),
        *(_Shown(column.key, column.title, [_cell(column, row, rows) for row in rows]) for column in numbers),
        _Shown("", "failed", failures),
        _Shown("host", "host", [Text(host_letter(row)) for row in rows], "center"),
        _Shown("marks", "marks", [Text(mark_letters(row)) for row in rows], "left"),
    ]


def _organs(division: Division, columns: Sequence[Column]) -> list[_Shown]:
    """One line per team, or per organ where there are fewer teams than organs: whichever is narrower."""
    rows = division.rows
    if len(rows) >= len(columns):
        teams = _Shown("", "team", [Text(text.printable(row.team)) for row in rows], "left")
        return [
            teams,
            *(
                _Shown(column.key, column.title, [_cell(column, row, rows) for row in rows])
                for column in columns
            ),
        ]
    organs = _Shown("", "organ", [Text(column.title) for column in columns], "left")
    return [
        organs,
        *(
            _Shown(row.team, text.printable(row.team), [_cell(column, row, rows) for column in columns])
            for row in rows
        ),
    ]


def _print_fitting(columns: Sequence[_Shown], console: Console) -> None:
    kept, dropped = _fit(columns, console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in kept:
        table.add_column(Text(column.title), justify=column.justify, no_wrap=True, overflow="ellipsis")
    for cells in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*cells)
    console.print(table)
    if dropped:
        names = ", ".join(column.title for column in dropped)
        console.print(Text(f"Not shown for want of width: {names}.", style="dim"))


def _fit(columns: Sequence[_Shown], width: int) -> tuple[list[_Shown], list[_Shown]]:
    """Separate the columns that are shown from those that the width does not hold."""

    def turn(column: _Shown) -> int:
        return next(turn for turn, start in enumerate(_GIVEN_UP) if column.key.startswith(start))

    candidates = sorted((column for column in reversed(columns) if column.key), key=turn)
    kept, dropped = list(columns), []
    for candidate in candidates:
        if sum(column.width for column in kept) <= width:
            break
        kept.remove(candidate)
        dropped.append(candidate)
    return kept, [column for column in columns if column in dropped]


def _cell(column: Column, row: Row, rows: Sequence[Row]) -> Text:
    value, best = column.value(row), column.best(rows)
    cell = Text(column.shown(value), style="bold green" if value is not None and value == best else "")
    if value != best and (brackets := text.ratio(value, best)):
        cell.append(f" {brackets}", style="dim")
    return cell
