"""`harness score`: score again, or score a folder of predictions made elsewhere. No engine is needed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import Challenge, load_challenge
from harness.cli import options
from harness.cli.display import progress, say
from harness.cli.entry import conclude, prepared
from harness.cli.names import known_team
from harness.cli.observer import ConsoleObserver
from harness.cli.people import score_people
from harness.data.dataset import Dataset
from harness.errors import ConfigurationError
from harness.results.folder import read_results
from harness.scoring.predictions import PredictionsRequest, score_predictions
from harness.scoring.score import score_run
from harness.submission.load import team_of


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("score")(command)


def command(
    predictions: Annotated[
        Path | None, typer.Argument(help="A folder of <case>.nii.gz; without it, stored runs are scored.")
    ] = None,
    team: Annotated[
        str | None, typer.Option("--team", help="The row's name; default: the folder's. Or whose runs.")
    ] = None,
    data: options.Data = options.DEFAULT_DATA,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    split: options.Split = None,
    case: options.Cases = None,
    profile: options.Profile = None,
    again: Annotated[bool, typer.Option("--again", help="Also what has a current score already.")] = False,
) -> int:
    """Score what was predicted, in stored runs or made elsewhere.

    Example: `harness score PREDICTIONS --team mine --data DIR --challenge FILE`.
    """
    rules = load_challenge(challenge)
    options.check_profile(profile)
    if predictions is not None and not predictions.is_dir():
        raise ConfigurationError(
            "the folder of predictions does not exist",
            where=predictions,
            mend=f"Give a folder of <case>{rules.contract.output_suffix}.",
        )
    dataset = prepared(data, challenge=rules, split=split, cases=case)
    if predictions is None:
        return score_stored(rules, dataset, results, team=team, profile=profile, again=again)
    request = PredictionsRequest(
        team=team or team_of(predictions.resolve().name),
        folder=predictions,
        challenge=rules,
        dataset=dataset,
        results=results,
        profile=profile,
        argv=tuple(sys.argv),
    )
    with ConsoleObserver() as observer:
        finished = score_predictions(request, observer=observer)
    fingerprint = finished.record.dataset.fingerprint
    score_people(rules, dataset, results, fingerprint=fingerprint, profile=profile)
    return conclude(finished)


def score_stored(
    challenge: Challenge,
    dataset: Dataset,
    results: Path,
    *,
    team: str | None,
    profile: str | None,
    again: bool,
) -> int:
    """Score every stored run over this data set."""
    with progress("hashing the data") as advance:
        fingerprint = dataset.fingerprint(advance)
    stored = list(read_results(results, challenge.name))
    if team is not None and stored:
        known_team(team, [run.record.team for run in stored], where=results / challenge.name)
    runs = [
        run
        for run in stored
        if run.record.dataset.fingerprint == fingerprint
        and run.record.source not in ("raters", "imported")
        and team in (None, run.record.team)
    ]
    if not runs:
        raise ConfigurationError(
            f"there are no results of challenge {challenge.name} over this data set",
            where=results / challenge.name,
            mend="Give the --data (and --team) that a run was made with.",
        )
    score_people(challenge, dataset, results, fingerprint=fingerprint, profile=profile)
    for run in runs:
        say(f"{run.record.team} {run.record.run}")
        with ConsoleObserver() as observer:
            score_run(
                run.folder,
                dataset,
                profile=profile,
                metrics=challenge.computed_metrics,
                again=again,
                observer=observer,
            )
        print(run.folder)
    return 0
