"""`harness check`: a participant's rehearsal: lint the image, run cases exactly as judged, and teach."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.cli import completion, options, preflight
from harness.cli.advice import advise, in_json, show_case, summary
from harness.cli.display import say
from harness.cli.entry import check_entrants, entry_for, prepared, rules_for
from harness.cli.observer import ConsoleObserver
from harness.cli.preflight import archive_of, judge_of
from harness.engine.registry import images_of, open_engine
from harness.errors import EXIT_OK, EXIT_SUBMISSION_FAILED, ConfigurationError
from harness.results.records import OptOuts
from harness.run.evaluate import EvaluationRequest, evaluate
from harness.text import printable


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("check")(command)


def command(
    team: options.OptionalTeam = None,
    data: options.Data = options.DEFAULT_DATA,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    submissions: options.Submissions = options.DEFAULT_SUBMISSIONS,
    image: options.Images = None,
    split: options.Split = None,
    case: Annotated[
        str | None,
        typer.Option("--case", help="The case to run; default: the first.", autocompletion=completion.cases),
    ] = None,
    all_cases: Annotated[bool, typer.Option("--all", help="Run every case, not only one.")] = False,
    static: Annotated[
        bool, typer.Option("--static", help="Only look into an archive: no engine, no data, no case.")
    ] = False,
    driver: Annotated[
        str | None, typer.Option("--driver", help="The judge's NVIDIA driver; default: this host's.")
    ] = None,
    device: options.Device = None,
    requires_root: options.RequiresRoot = False,
    writable_root: options.WritableRoot = False,
    writable_inputs: options.WritableInputs = False,
    input_socket: options.InputSockets = None,
    output_socket: options.OutputSocket = None,
    runtime: options.Runtime = "",
    as_json: options.AsJson = False,
) -> int:
    """Lint the image, run a case as judged, and say what to change.

    TEAM may also be the path of an image archive, as --image.

    Example: `harness check mine --all`, or `harness check team.tar.gz --static`.
    """
    tell = say if as_json else print
    rules = rules_for(load_challenge(challenge), options.sockets_of(input_socket, output_socket))
    if image is not None and len(image) > 1:
        raise ConfigurationError(
            f"{len(image)} images are given", where="--image", mend="Check one image at a time."
        )
    archive = archive_of(team, image[0] if image else None)
    team = None if team == archive else team
    options.check_device(device, with_image=archive is not None)
    if static:
        judge = judge_of(rules, requires_root=requires_root, driver=driver)
        errors = preflight.static(archive, judge, tell=tell)
        verdict = preflight.static_summary(errors)
        if as_json:
            print(in_json([], errors=errors, verdict=verdict))
        say(verdict)
        return EXIT_OK if not errors else EXIT_SUBMISSION_FAILED
    check_entrants(team, [archive] if archive else [], submissions)
    dataset = prepared(data, challenge=rules, split=split, cases=[case] if case else None)
    if not all_cases:
        dataset = dataset.select([dataset.cases[0].id])
    engine = open_engine()
    opt_outs = OptOuts(
        requires_root=requires_root, writable_root=writable_root, writable_inputs=writable_inputs
    )
    entry = entry_for(
        engine, team, archive, submissions=submissions, challenge=rules, device=device, opt_outs=opt_outs
    )
    rules = rules_for(rules, entry.sockets)
    judge = judge_of(
        rules,
        requires_root=entry.opt_outs.requires_root,
        driver=driver,
        platform=images_of(engine).platform,
    )
    errors = preflight.in_engine(images_of(engine), entry.image, judge, tell=tell)
    with tempfile.TemporaryDirectory(prefix="flareharness-check-") as folder, ConsoleObserver() as observer:
        request = EvaluationRequest(
            team=entry.team,
            image=entry.image,
            device=entry.device,
            opt_outs=entry.opt_outs,
            challenge=rules,
            dataset=dataset,
            results=Path(folder),
            runtime=runtime,
            argv=tuple(sys.argv),
        )
        finished = evaluate(request, engine=engine, observer=observer)
        advised = advise(finished, dataset.cases)
    verdict = printable(summary(advised, errors=errors))
    if as_json:
        print(in_json(advised, errors=errors, verdict=verdict))
    else:
        for advice in advised:
            show_case(advice, named=len(advised) > 1)
        print(verdict)
    return EXIT_OK if not errors and all(advice.succeeded for advice in advised) else EXIT_SUBMISSION_FAILED
