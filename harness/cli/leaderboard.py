"""`harness leaderboard`: the table, and the report."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evaluator.terminal import in_words
from harness.challenge import Challenge, load_challenge
from harness.cli import options
from harness.cli.display import progress, say, stdout
from harness.data.dataset import open_dataset
from harness.errors import ConfigurationError
from harness.leaderboard import Leaderboard, build, read_values, render_terminal, write_files
from harness.leaderboard.files import to_csv, to_json, to_markdown
from harness.report import write_report


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
    output_format: Annotated[
        Format, typer.Option("--format", "-f", help="How the table is printed.")
    ] = Format.TABLE,
    organs: Annotated[bool, typer.Option("--organs", help="Add each organ's scores.")] = False,
    across_hosts: options.AcrossHosts = False,
    profile: options.Profile = None,
) -> None:
    """Print the leaderboard, and store it as leaderboard.csv, .json and .md."""
    if context.invoked_subcommand is not None:
        return
    rules = load_challenge(challenge)
    board = rank(rules, results, across_hosts=across_hosts, profile=profile)
    try:
        write_files(board, results / rules.name)
    except OSError as error:  # an archive on a read-only disk is read all the same
        what, where, _ = in_words(error)
        say(f"the table is not stored: {what} ({where})")
    show(board, output_format, organs=organs)


def report(
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    view: Annotated[
        View, typer.Option("--view", help="participant: nothing about single cases of a hidden set.")
    ] = View.ORGANISER,
    data: Annotated[
        Path | None, typer.Option("--data", help="The data set, for pictures of the worst cases.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The folder; by default RESULTS/CHALLENGE/report.")
    ] = None,
    across_hosts: options.AcrossHosts = False,
    profile: options.Profile = None,
) -> None:
    """Write the report: one HTML file that opens from disk, and a page per submission."""
    rules = load_challenge(challenge)
    board = rank(rules, results, across_hosts=across_hosts, profile=profile)
    folder = output or results / rules.name / "report"
    dataset = open_dataset(data) if data is not None else None
    print(write_report(board, folder, view=view.value, dataset=dataset))


def rank(
    challenge: Challenge, results: Path, *, across_hosts: bool = False, profile: str | None = None
) -> Leaderboard:
    """Read a challenge's runs and rank the teams.

    Raises:
        ConfigurationError: there are no results yet.
    """
    with progress("reading results") as advance:
        values = read_values(results, challenge, profile=profile, progress=advance)
    if not values:
        raise ConfigurationError(
            f"there are no results of challenge {challenge.name}",
            where=results / challenge.name,
            mend="Run `harness evaluate TEAM` or `harness score PREDICTIONS` first.",
        )
    return build(values, challenge=challenge, across_hosts=across_hosts, profile=profile)


def show(board: Leaderboard, output_format: Format, *, organs: bool = False) -> None:
    """Print a leaderboard to stdout."""
    if output_format is Format.TABLE:
        render_terminal(board, stdout(), per_organ=organs)
    else:
        writers = {Format.CSV: to_csv, Format.JSON: to_json, Format.MD: to_markdown}
        print(writers[output_format](board), end="")
