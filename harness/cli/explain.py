"""`harness explain`: why a case's scores are what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.cli import options
from harness.cli.display import say
from harness.data.dataset import open_dataset
from harness.errors import ConfigurationError
from harness.results.folder import RunResults, read_results


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("explain")(command)


def command(
    team: Annotated[str, typer.Argument(help="Whose newest run is looked at.")],
    case: Annotated[str, typer.Option("--case", help="Which case.")],
    data: options.Data = options.DEFAULT_DATA,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    split: options.Split = None,
    profiles: Annotated[
        str | None, typer.Option("--profiles", help="Rules to compare with the exact ones, by commas.")
    ] = None,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with pictures.")] = None,
) -> int:
    """Score a case under several rules; say why they differ and where surfaces are far apart."""
    from evaluator.explain import explain
    from evaluator.explain_pages import as_html, as_text

    rules = load_challenge(challenge)
    (chosen,) = open_dataset(data, split=split).select([case]).cases
    if chosen.label is None:
        raise ConfigurationError(f"case {case} has no label", mend="Give a data set with references.")
    runs = [run for run in read_results(results, rules.name) if run.record.team == team]
    found = explain(
        dict(chosen.raters) or chosen.label,
        _prediction(runs, team, case, results / rules.name),
        rules.labels,
        profiles.split(",") if profiles else (),
    )
    print(as_text(found), end="")
    if html is not None:
        html.write_text(as_html(found), encoding="utf-8")
        say(f"written: {html}")
    return 0


def _prediction(runs: list[RunResults], team: str, case: str, where: Path) -> Path:
    """Return what the newest run predicted for a case."""
    if not runs:
        raise ConfigurationError(
            f"there is no run of {team}", where=where, mend="See `harness leaderboard` for the teams."
        )
    execution = runs[-1].final_executions().get(case)
    if execution is None or execution.prediction is None:
        outcome = "was not run" if execution is None else f"ended as {execution.outcome.value}"
        raise ConfigurationError(
            f"{team} has no prediction of {case}: it {outcome}",
            where=runs[-1].folder,
            mend="Name another --case.",
        )
    return runs[-1].folder / execution.prediction.path
