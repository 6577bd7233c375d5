"""`harness check`: the participant's pre-flight: lint the image, then run one case exactly as judged."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.challenge.metrics import facts_of, in_a_line
from harness.cli import options, preflight
from harness.cli.display import say
from harness.cli.entry import entry_for, prepared, rules_for
from harness.cli.observer import ConsoleObserver
from harness.cli.preflight import archive_of, judge_of
from harness.engine.registry import images_of, open_engine
from harness.errors import EXIT_OK, EXIT_SUBMISSION_FAILED, ConfigurationError
from harness.results.folder import RunResults
from harness.results.records import OptOuts, Outcome
from harness.run.evaluate import EvaluationRequest, evaluate
from harness.text import printable

_LOG_LINES = 20
_MIB = 1024**2


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
    case: Annotated[str | None, typer.Option("--case", help="The case to run; default: the first.")] = None,
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
) -> int:
    """Lint the image, then run one case under the judged limits and say what to fix.

    TEAM may also be the path of an image archive, as --image.
    """
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
        return EXIT_OK if preflight.static(archive, judge) else EXIT_SUBMISSION_FAILED
    dataset = prepared(data, challenge=rules, split=split, cases=[case] if case else None)
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
    sound = preflight.in_engine(images_of(engine), entry.image, judge)
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
        succeeded = show(finished)
    return EXIT_OK if succeeded and sound else EXIT_SUBMISSION_FAILED


def show(finished: RunResults) -> bool:
    """Print the case's outcome against its limits, and the end of its log if it failed."""
    (execution,) = finished.final_executions().values()
    limits, usage = finished.record.limits, execution.usage
    print(f"outcome: {execution.outcome.value} ({printable(execution.evidence.summary)})")
    if execution.stages.run_s is not None:
        print(f"time: {execution.stages.run_s:.1f} s of {limits.time_s:.0f} s")
    if usage.peak_memory_bytes is not None:
        print(
            f"peak memory: {usage.peak_memory_bytes / _MIB:.0f} MiB of {limits.memory_bytes / _MIB:.0f} MiB"
        )
    for score in finished.scores:
        for label in score.scores:
            known = {key: value for key, value in label.scores.items() if value is not None}
            if known:
                means = (in_a_line(facts_of(key), value) for key, value in known.items())
                print(f"{label.organ}: {', '.join(means)}")
    if execution.outcome is Outcome.SUCCEEDED:
        return True
    log = finished.folder / "cases" / execution.case / "container.log"
    if log.is_file():
        say("the end of its log:")
        for line in log.read_text(errors="replace").splitlines()[-_LOG_LINES:]:
            say(f"  {line}")
    return False
