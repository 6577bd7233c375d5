"""`harness export`: the results in other tools' formats."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.cli import options
from harness.cli.leaderboard import rank
from harness.interop.challenger import write_challenger
from harness.interop.flare import write_flare
from harness.leaderboard import Division, Leaderboard


class Format(StrEnum):
    """Whose format."""

    FLARE = "flare"
    CHALLENGER = "challenger"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(command)


def command(
    output_format: Annotated[
        Format,
        typer.Argument(metavar="FORMAT", help="flare: its CSV files; challenger: CSV and an R script."),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder that the files go to.")],
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    profile: options.Profile = None,
) -> None:
    """Write the results as FLARE's organisers store them, or for an analysis with challengeR."""
    board = rank(load_challenge(challenge), results, profile=profile)
    write = _WRITERS[output_format]
    for division in board.divisions:
        folder = output
        if len(board.divisions) > 1:
            folder = output / f"{division.fingerprint[:12]}-{division.profile}"
        for path in write(board, division, folder):
            print(path)


def _flare(board: Leaderboard, division: Division, folder: Path) -> list[Path]:
    return write_flare(division, folder)


def _challenger(board: Leaderboard, division: Division, folder: Path) -> list[Path]:
    return write_challenger(division, board.scheme, folder, seed=board.seed)


_WRITERS: dict[Format, Callable[[Leaderboard, Division, Path], list[Path]]] = {
    Format.FLARE: _flare,
    Format.CHALLENGER: _challenger,
}
