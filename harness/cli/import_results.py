"""`harness import`: rows from others' tables beside one's own."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.cli import options
from harness.cli.display import say
from harness.data.dataset import open_dataset
from harness.errors import ConfigurationError
from harness.interop.tables import read_flare, read_nnunet
from harness.scoring.imported import ImportRequest, import_cases


class Format(StrEnum):
    """Whose tables."""

    FLARE = "flare"
    NNUNET = "nnunet"


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("import")(command)


def command(
    table_format: Annotated[
        Format, typer.Argument(metavar="FORMAT", help="flare: its CSV files; nnunet: a summary.json.")
    ],
    team: Annotated[str, typer.Option("--team", help="The row's name.")],
    scores: Annotated[
        Path | None, typer.Option("--scores", help="TEAM_DSC_NSD.csv, or nnU-Net's summary.json.")
    ] = None,
    efficiency: Annotated[
        Path | None, typer.Option("--efficiency", help="TEAM_Efficiency.csv, of FLARE.")
    ] = None,
    data: options.Data = options.DEFAULT_DATA,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    split: options.Split = None,
    profile: options.Profile = None,
) -> None:
    """Store the numbers of others' tables as a row that says so.

    Example: `harness import winner --scores winner_DSC_NSD.csv --challenge flare22`.

    Such a row stands beside yours, out of competition: nothing of it was measured or scored here.
    """
    rules = load_challenge(challenge)
    options.check_profile(profile)
    files = [path for path in (scores, efficiency) if path is not None]
    if not files:
        raise ConfigurationError(
            "no table is named", where="--scores, --efficiency", mend="Give one of them, or both."
        )
    if table_format is Format.NNUNET:
        if scores is None or efficiency is not None:
            raise ConfigurationError(
                "nnU-Net has one table", where="--scores", mend="Give its summary.json as --scores alone."
            )
        cases = read_nnunet(scores, rules.labels)
    else:
        cases = read_flare(scores, efficiency, rules.labels)
    stored = import_cases(
        ImportRequest(
            team=team,
            files=files,
            challenge=rules,
            dataset=open_dataset(data, split=split),
            results=results,
            profile=profile or rules.profile,
            source={"flare": "FLARE", "nnunet": "nnU-Net"}[table_format.value],
            argv=tuple(sys.argv),
        ),
        cases,
    )
    say(f"{team}: {len(cases)} case(s) imported; the row bears the mark T")
    print(stored.folder)
