"""Options that several commands share, so that they are spelled and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Challenge = Annotated[
    str, typer.Option("--challenge", "-c", help="A shipped challenge's name, or the path of a .toml file.")
]
Results = Annotated[Path, typer.Option("--results", help="The folder that results are stored in.")]
Submissions = Annotated[Path, typer.Option("--submissions", help="The folder that submissions are found in.")]
Data = Annotated[Path, typer.Option("--data", help="A folder with imagesVal/ and labelsVal/.")]
Profile = Annotated[
    str | None, typer.Option("--profile", help="Scoring rules: exact, or flare. Default: the challenge's.")
]
AcrossHosts = Annotated[
    bool,
    typer.Option("--across-hosts", help="Rank on time across unlike hosts too."),
]

DEFAULT_CHALLENGE = "phantom"
DEFAULT_RESULTS = Path("results")
DEFAULT_SUBMISSIONS = Path("submissions")
