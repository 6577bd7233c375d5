"""`harness verify`: find any changed byte in the results, and score again."""

from __future__ import annotations

import json
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.cli import options
from harness.cli.display import say
from harness.data.dataset import open_dataset
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, ConfigurationError
from harness.results.journal import RUN_FILE
from harness.scoring.verify import verify_run
from harness.text import printable


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("verify")(command)


def command(
    results: options.Results = options.DEFAULT_RESULTS,
    challenge: Annotated[
        str | None,
        typer.Option("--challenge", "-c", help="Only this one, by name or .toml file; default: every one."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Also score the runs over this data set again.")
    ] = None,
    split: options.Split = None,
    as_json: options.AsJson = False,
) -> int:
    """Re-read every record, file and seal; with --data score again. The exit code is 4 on any damage.

    Example: `harness verify --data DIR --challenge FILE`.
    """
    folders = _run_folders(results, challenge)
    dataset = open_dataset(data, split=split) if data is not None else None
    fingerprint = dataset.fingerprint() if dataset is not None else ""
    damaged = 0
    told = []
    for folder in folders:
        found = verify_run(folder, dataset=dataset, fingerprint=fingerprint)
        damaged += bool(found.problems)
        told.append(
            {
                "run": str(folder),
                "intact": not found.problems,
                "remarks": list(found.remarks),
                "problems": [
                    {"what": problem.what, "where": str(problem.where)} for problem in found.problems
                ],
            }
        )
        if as_json:
            continue
        print(f"{folder}\t{'damaged' if found.problems else 'intact'}\t{'; '.join(found.remarks)}")
        for problem in found.problems:
            say(f"  {printable(problem.what)} ({printable(problem.where)})")
    if as_json:
        print(json.dumps(told, indent=1, ensure_ascii=False))
    say(f"{len(folders)} run(s), {damaged} damaged")
    return EXIT_INFRASTRUCTURE if damaged else EXIT_OK


def _run_folders(results: Path, challenge: str | None) -> list[Path]:
    """Return the folders of all runs, or of one challenge's."""
    name = load_challenge(challenge).name if challenge and challenge.endswith(".toml") else challenge
    held = sorted(path.name for path in results.iterdir() if path.is_dir()) if results.is_dir() else []
    if name is not None and name not in held:
        close = get_close_matches(name, held, n=1)
        raise ConfigurationError(
            f"there are no results of challenge {name!r}",
            where=results,
            mend=f"Did you mean {close[0]}?" if close else f"There are: {', '.join(held) or 'none'}.",
        )
    folders = sorted(path.parent for path in results.glob(f"{name or '*'}/*/*/{RUN_FILE}"))
    if not folders:
        raise ConfigurationError("there are no results here", where=results, mend="Name another --results.")
    return folders
