"""What a shell offers for a word that is being typed: teams, challenges, cases. Nothing heavy is imported."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import typer


def teams(context: typer.Context, incomplete: str) -> list[str]:
    """Return the submissions' folders, and the teams that have results."""
    submissions = Path(context.params.get("submissions") or "submissions")
    results = Path(context.params.get("results") or "results")
    found = {path.parent.name for path in submissions.glob("*/submission.toml")}
    found |= {path.parents[1].name for path in results.glob("*/*/*/run.json")}
    return sorted(name for name in found if name.startswith(incomplete))


def challenges(incomplete: str) -> list[str]:
    """Return the shipped challenges, and the .toml files that the word may lead to."""
    shipped = resources.files("harness.challenge").joinpath("shipped").iterdir()
    names = [entry.name.removesuffix(".toml") for entry in shipped if entry.name.endswith(".toml")]
    folder = Path(incomplete.rpartition("/")[0] or ("/" if incomplete.startswith("/") else "."))
    files = [str(path) for path in folder.glob("*.toml") if path.name != "pyproject.toml"]
    return sorted(name for name in (*names, *files) if name.startswith(incomplete))


def cases(context: typer.Context, incomplete: str) -> list[str]:
    """Return the cases of the data set that --data names, by the names of its label files."""
    data = Path(context.params.get("data") or "data/phantom")
    names = {path.name.removesuffix(".gz").removesuffix(".nii") for path in data.glob("labels*/*.nii*")}
    return sorted(name for name in names if name.startswith(incomplete))
