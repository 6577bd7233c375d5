"""`harness leaderboard`: the table, and the report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import Challenge, load_challenge
from harness.cli import options
from harness.cli.display import say, stdout
from harness.errors import ConfigurationError
from harness.leaderboard import Leaderboard
from harness.run.journal import RunResults


class Format(StrEnum):
    """How the table is printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    MD = "md"


class View(StrEnum):
    """Who the report is for."""

    ORGANISER = "organiser"
    PARTICIPANT = "participant"


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = typer.Typer(help="Rank the teams of a challenge from the results on disk; no engine is needed.")
    group.callback(invoke_without_command=True)(table)
    group.command("report")(report)
    app.add_typer(group, name="leaderboard")


def table(
    context: typer.Context,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    format: Annotated[Format, typer.Option("--format", "-f", help="How the table is printed.")] = Format.TABLE,
    organs: Annotated[bool, typer.Option("--organs", help="Add a column per organ.")] = False,
    profile: options.Profile = None,
    across_hosts: Annotated[
        bool, typer.Option("--across-hosts", help="Rank on time across unlike hosts too; otherwise like with like.")
    ] = False,
) -> None:
    """Print the leaderboard, and store it as leaderboard.csv, .json and .md."""
    if context.invoked_subcommand is not None:
        return
    rules = load_challenge(challenge)
    _, board = load(rules, results, profile=profile, across_hosts=across_hosts)
    board.write_files(results / rules.name)
    show(board, format=format, organs=organs)
