"""The leaderboard on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.leaderboard import text
from harness.leaderboard.columns import Column, group_columns, organ_columns, resource_columns
from harness.leaderboard.files import host_letter, legend, mark_letters
from harness.leaderboard.model import Division, Leaderboard, Row


def render_terminal(leaderboard: Leaderboard, console: Console, *, per_organ: bool = False) -> None:
    """Print the tables: rounded values, and in brackets their ratio to the column's best.

    Args:
        leaderboard: What to print.
        console: Where.
        per_organ: Also print DSC and NSD of each organ.
    """
    challenge = leaderboard.challenge
    for note in leaderboard.notes:
        console.print(Text(note, style="yellow"))
    for division in leaderboard.divisions:
        columns = [*group_columns(challenge), *resource_columns(division.rows)]
        console.print(_table(leaderboard, division, columns))
        for line in legend(division):
            console.print(Text(line, style="dim"))
        if per_organ:
            for metric in ("dsc", "nsd"):
                console.print(
                    _organs(division, organ_columns(challenge, metric), f"{metric.upper()} by organ, %")
                )
    if not leaderboard.divisions:
        console.print("no runs to rank")


def _table(leaderboard: Leaderboard, division: Division, columns: Sequence[Column]) -> Table:
    facts = (leaderboard.challenge.title, division.dataset, f"{len(division.cases)} cases", division.profile)
    title = " · ".join(facts)
    table = Table(title=Text(text.printable(title)), title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("rank", justify="right", no_wrap=True)
    table.add_column(f"{100 * leaderboard.confidence:g} %", justify="center", no_wrap=True)
    table.add_column("team", no_wrap=True, min_width=8)
    for column in columns:
        table.add_column(column.title, justify="right")
    table.add_column("failed", justify="right", no_wrap=True)
    table.add_column("host", justify="center", no_wrap=True)
    table.add_column("marks", no_wrap=True)
    for row in division.rows:
        table.add_row(
            str(row.rank or "–"),
            text.rank_interval(row.rank_low, row.rank_high),
            Text(text.printable(row.team)),
            *(_cell(column, row, division.rows) for column in columns),
            Text(f"{row.failed}/{row.cases}", style="red" if row.failed else ""),
            host_letter(row),
            mark_letters(row),
        )
    return table


def _organs(division: Division, columns: Sequence[Column], title: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("organ", no_wrap=True)
    for row in division.rows:
        table.add_column(Text(text.printable(row.team)), justify="right")
    for column in columns:
        table.add_row(column.title, *(_cell(column, row, division.rows) for row in division.rows))
    return table


def _cell(column: Column, row: Row, rows: Sequence[Row]) -> Text:
    value, best = column.value(row), column.best(rows)
    cell = Text(column.shown(value), style="bold green" if value is not None and value == best else "")
    if value != best and (brackets := text.ratio(value, best)):
        cell.append(f" {brackets}", style="dim")
    return cell
