"""The leaderboard on a terminal: as many columns as fit, the most telling first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from harness import text
from harness.challenge.metrics import heading_unit
from harness.leaderboard.columns import KEPT_SCORES, Column, organ_columns, shown_columns
from harness.leaderboard.files import host_letter, legend, mark_letters, subgroup_tables, with_interval
from harness.leaderboard.model import Division, Leaderboard, Row

_GAP = 3
_ALWAYS = 100
_AT_LAST = 9
"""How long the columns that are no numbers stay on a terminal that gets narrower; see `Column.kept`."""


@dataclass(frozen=True)
class _Shown:
    """A column ready to print."""

    kept: int
    title: str
    cells: list[Text]
    justify: JustifyMethod = "right"
    under: str = ""

    @property
    def width(self) -> int:
        return max(map(len, [self.title, self.under, *(cell.plain for cell in self.cells)])) + _GAP


def render_terminal(leaderboard: Leaderboard, console: Console, *, per_organ: bool = False) -> None:
    """Print the tables: rounded values with the intervals of means, and a cost's ratio to the column's best.

    Args:
        leaderboard: What to print.
        console: Where. Columns that do not fit are left out, and named.
        per_organ: Also print every score of each organ.
    """
    challenge = leaderboard.challenge
    for note in leaderboard.notes:
        console.print(Text(note, style="yellow"))
    for division in leaderboard.divisions:
        title = (challenge.title, division.dataset, f"{len(division.cases)} cases", division.profile)
        console.print(Text(text.printable(" · ".join(title)), style="bold"))
        columns = _columns(leaderboard, division, intervals=True)
        # A score that is missing is worse than an interval that is.
        room = not any(column.kept >= KEPT_SCORES for column in _fit(columns, console.width)[1])
        _print_fitting(columns if room else _columns(leaderboard, division, intervals=False), console)
        for line in legend(division, intervals=room):
            console.print(Text(line, style="dim"))
        for heading, (first, *body) in subgroup_tables(division):
            console.print(Text(f"\n{text.printable(heading)}", style="bold"))
            columns = [
                _Shown(_ALWAYS, text.printable(title), [Text(text.printable(row[place])) for row in body])
                for place, title in enumerate(first)
            ]
            _print_fitting([replace(columns[0], justify="left"), *columns[1:]], console)
        if per_organ:
            for facts in challenge.label_metrics:
                unit = heading_unit(facts)
                heading = f"\n{facts.title} by organ{f', {unit}' if unit else ''}"
                console.print(Text(heading, style="bold"))
                _print_fitting(_organs(division, organ_columns(challenge, facts)), console)
    if not leaderboard.divisions:
        console.print("no runs to rank")


def _columns(leaderboard: Leaderboard, division: Division, *, intervals: bool) -> list[_Shown]:
    rows = division.rows
    numbers = shown_columns(leaderboard.challenge, rows)
    ranks = [Text(text.rank_interval(row.rank_low, row.rank_high)) for row in rows]
    failures = [Text(f"{row.failed}/{row.cases}", style="red" if row.failed else "") for row in rows]
    return [
        _Shown(_ALWAYS, "rank", [Text(str(row.rank or "–")) for row in rows]),
        _Shown(_ALWAYS, f"{100 * leaderboard.confidence:g} %", ranks, "center"),
        _Shown(_ALWAYS, "team", [Text(text.printable(row.team)) for row in rows], "left"),
        *(
            _Shown(
                column.kept,
                column.title,
                [_cell(column, row, rows, intervals=intervals) for row in rows],
                under=_size(column, rows),
            )
            for column in numbers
        ),
        _Shown(2, "score", [Text("" if row.score is None else f"{row.score:.2f}") for row in rows]),
        _Shown(2, "first", [Text(_percent(row.p_first)) for row in rows]),
        _Shown(_ALWAYS, "failed", failures),
        _Shown(_AT_LAST, "host", [Text(host_letter(row)) for row in rows], "center"),
        _Shown(_AT_LAST, "marks", [Text(mark_letters(row)) for row in rows], "left"),
    ]


def _organs(division: Division, columns: Sequence[Column]) -> list[_Shown]:
    """One line per team, or per organ where there are fewer teams than organs: whichever is narrower."""
    rows = division.rows
    if len(rows) >= len(columns):
        teams = _Shown(_ALWAYS, "team", [Text(text.printable(row.team)) for row in rows], "left")
        return [
            teams,
            *(
                _Shown(column.kept, column.title, [_cell(column, row, rows) for row in rows])
                for column in columns
            ),
        ]
    organs = _Shown(_ALWAYS, "organ", [Text(column.title) for column in columns], "left")
    return [
        organs,
        *(
            _Shown(_AT_LAST, text.printable(row.team), [_cell(column, row, rows) for column in columns])
            for row in rows
        ),
    ]


def _print_fitting(columns: Sequence[_Shown], console: Console) -> None:
    kept, dropped = _fit(columns, console.width)
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in kept:
        table.add_column(
            Text(f"{column.title}\n{column.under}".rstrip()),
            justify=column.justify,
            no_wrap=True,
            overflow="ellipsis",
        )
    for cells in zip(*(column.cells for column in kept), strict=True):
        table.add_row(*cells)
    console.print(table)
    if dropped:
        names = ", ".join(column.title for column in dropped)
        console.print(Text(f"Not shown for want of width: {names}.", style="dim"))


def _fit(columns: Sequence[_Shown], width: int) -> tuple[list[_Shown], list[_Shown]]:
    """Separate the columns that are shown from those that the width does not hold."""
    candidates = [column for column in reversed(columns) if column.kept < _ALWAYS]
    candidates.sort(key=lambda column: column.kept)
    kept, dropped = list(columns), []
    for candidate in candidates:
        if sum(column.width for column in kept) <= width:
            break
        kept.remove(candidate)
        dropped.append(candidate)
    return kept, [column for column in columns if column in dropped]


def _cell(column: Column, row: Row, rows: Sequence[Row], *, intervals: bool = True) -> Text:
    value, best = column.of(row), column.best(rows)
    is_best = column.can_be_best(row) and value == best
    plain = column.text(row)
    cell = Text(plain, style="bold green" if is_best else "")
    if column.per_case is not None:
        if intervals:
            cell.append(with_interval(column, row).removeprefix(plain), style="dim")
    elif not is_best and column.can_be_best(row) and (brackets := _ratio(value, best)):
        cell.append(f" {brackets}", style="dim")
    return cell


def _ratio(value: float | None, best: float | None) -> str:
    """Return how a cost compares with the best one, where that is more than noise and less than absurd."""
    if value is None or not best or not _LEAST_RATIO * best < value < _MOST_RATIO * best:
        return ""
    return text.ratio(value, best)


_LEAST_RATIO = 1.005
_MOST_RATIO = 1000
"""Beyond this a ratio tells of the best row's failure to do anything, not of this row."""


def _size(column: Column, rows: Sequence[Row]) -> str:
    """Return how many cases the column's means are over."""
    return column.heading(rows).removeprefix(column.title).strip()


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f} %"
