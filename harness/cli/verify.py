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
from harness.results.folder import chain_start
from harness.results.journal import RUN_FILE
from harness.results.key import known_key
from harness.results.register import Registered, forget_run, gone_runs
from harness.scoring.verify import Verification, verify_run
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
    forget: Annotated[
        bool, typer.Option("--forget", help="Runs that are gone were taken away on purpose: ask no more.")
    ] = False,
    as_json: options.AsJson = False,
) -> int:
    """Re-read every record, file and seal; with --data score again. Exit code 4: damaged, or a run is gone.

    Example: `harness verify --data DIR --challenge FILE`.
    """
    name = load_challenge(challenge).name if challenge and challenge.endswith(".toml") else challenge
    gone = _gone_runs(results, name)
    folders = _run_folders(results, name, may_be_none=bool(gone))
    dataset = open_dataset(data, split=split) if data is not None else None
    fingerprint = dataset.fingerprint() if dataset is not None else ""
    damaged = 0
    told: list[dict[str, object]] = []
    for folder in folders:
        found = verify_run(folder, dataset=dataset, fingerprint=fingerprint)
        damaged += bool(found.problems)
        told.append(_as_json(folder, found))
        if not as_json:
            _print(folder, found)
    told += [{"run": str(results / run.name), "intact": False, "gone": True} for run in gone]
    if as_json:
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        for run in gone:
            print(f"{results / run.name}\tgone\tsealed here with {run.seal.cases.lines} line(s) of cases")
    say(f"{len(folders)} run(s), {damaged} damaged, {len(gone)} gone")
    if forget:
        for run in gone:
            forget_run(run)
    elif gone:
        say("What is gone was judged on this host. If it was taken away on purpose: harness verify --forget")
    return EXIT_INFRASTRUCTURE if damaged or (gone and not forget) else EXIT_OK


def _print(folder: Path, found: Verification) -> None:
    print(f"{folder}\t{'damaged' if found.problems else 'intact'}\t{'; '.join(found.remarks)}")
    for problem in found.problems:
        say(f"  {printable(problem.what)} ({printable(problem.where)})")


def _as_json(folder: Path, found: Verification) -> dict[str, object]:
    return {
        "run": str(folder),
        "intact": not found.problems,
        "remarks": found.remarks,
        "problems": [{"what": problem.what, "where": problem.where} for problem in found.problems],
    }


def _gone_runs(results: Path, challenge: str | None) -> list[Registered]:
    """Return the runs that this host sealed in these results and that are not there any more."""
    key = known_key()
    if key is None:
        return []
    present = {chain_start(path.parent) for path in results.glob(f"*/*/*/{RUN_FILE}")}
    return [run for run in gone_runs(results, present, key) if challenge in (None, run.seal.challenge)]


def _run_folders(results: Path, challenge: str | None, *, may_be_none: bool) -> list[Path]:
    """Return the folders of all runs, or of one challenge's."""
    folders = sorted(path.parent for path in results.glob(f"{challenge or '*'}/*/*/{RUN_FILE}"))
    if folders or may_be_none:
        return folders
    held = sorted({path.parents[2].name for path in results.glob(f"*/*/*/{RUN_FILE}")})
    if challenge is None or not held:
        raise ConfigurationError("there are no results here", where=results, mend="Name another --results.")
    close = get_close_matches(challenge, held, n=1)
    raise ConfigurationError(
        f"there are no results of challenge {challenge!r}",
        where=results,
        mend=f"Did you mean {close[0]}?" if close else f"There are: {', '.join(held)}.",
    )
