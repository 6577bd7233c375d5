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
from harness.interop.bibtex import write_bibtex
from harness.interop.challenger import write_challenger
from harness.interop.flare import write_flare
from harness.interop.statistics import write_statistics
from harness.interop.tidy import write_tidy
from harness.leaderboard import Division, Leaderboard
from harness.leaderboard.statistics import sample_counts
from harness.leaderboard.subgroups import CaseTable, read_case_table
from harness.leaderboard.uncertainty import Samples


class Format(StrEnum):
    """Whose format."""

    FLARE = "flare"
    CHALLENGER = "challenger"
    TIDY = "tidy"
    STATISTICS = "statistics"
    BIBTEX = "bibtex"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("export")(command)


def command(
    output_format: Annotated[
        Format,
        typer.Argument(
            metavar="FORMAT",
            help="flare: its CSV files; challenger: CSV and an R script; tidy: a line per team, case and "
            "label; statistics: paired differences, win rates and subgroups; bibtex: what was used.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder that the files go to.")],
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    profile: options.Profile = None,
    cases: options.CaseTable = None,
    unsigned: options.Unsigned = False,
) -> None:
    """Write the results as FLARE's organisers store them, for challengeR, or as long tables."""
    board = rank(
        load_challenge(challenge), results, profile=profile, case_table=case_table(cases), unsigned=unsigned
    )
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


def _tidy(board: Leaderboard, division: Division, folder: Path) -> list[Path]:
    return write_tidy(division, folder)


def _statistics(board: Leaderboard, division: Division, folder: Path) -> list[Path]:
    samples = sample_counts(len(division.cases), board.bootstrap_samples, seed=board.seed)
    return write_statistics(division, folder, samples=Samples(samples, board.confidence))


def _bibtex(board: Leaderboard, division: Division, folder: Path) -> list[Path]:
    return write_bibtex(board, division, folder)


def case_table(path: Path | None) -> CaseTable | None:
    """Read the table of cases if there is one."""
    return read_case_table(path) if path is not None else None


_WRITERS: dict[Format, Callable[[Leaderboard, Division, Path], list[Path]]] = {
    Format.FLARE: _flare,
    Format.CHALLENGER: _challenger,
    Format.TIDY: _tidy,
    Format.STATISTICS: _statistics,
    Format.BIBTEX: _bibtex,
}
