"""`harness verify`: find any changed byte in the results, and score again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.display import printable, say
from harness.data.dataset import Dataset, open_dataset
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, ConfigurationError
from harness.results.folder import read_run_record
from harness.results.journal import RUN_FILE
from harness.scoring.verify import verify_run


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("verify")(command)


def command(
    results: options.Results = options.DEFAULT_RESULTS,
    challenge: Annotated[
        str | None, typer.Option("--challenge", "-c", help="Only this challenge; default: every one.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Also score the runs over this data set again.")
    ] = None,
    split: options.Split = None,
) -> int:
    """Re-read every record and prediction; with --data also score again. The exit code is 4 on any damage."""
    folders = sorted(path.parent for path in results.glob(f"{challenge or '*'}/*/*/{RUN_FILE}"))
    if not folders:
        raise ConfigurationError("there are no results here", where=results, mend="Name another --results.")
    dataset = open_dataset(data, split=split) if data is not None else None
    fingerprint = dataset.fingerprint() if dataset is not None else None
    damaged = 0
    for folder in folders:
        problems = list(verify_run(folder, dataset=_of(folder, dataset, fingerprint)))
        damaged += bool(problems)
        print(f"{folder}\t{'damaged' if problems else 'intact'}")
        for problem in problems:
            say(f"  {printable(problem.what)} ({printable(problem.where)})")
    say(f"{len(folders)} run(s), {damaged} damaged")
    return EXIT_INFRASTRUCTURE if damaged else EXIT_OK


def _of(folder: Path, dataset: Dataset | None, fingerprint: str | None) -> Dataset | None:
    """Return the data set for a run that was made over it."""
    if dataset is None or read_run_record(folder).dataset.fingerprint != fingerprint:
        return None
    return dataset
