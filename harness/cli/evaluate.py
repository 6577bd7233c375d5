"""`harness evaluate`: run, measure, score and store one team's submission; resumes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.cli import many, options
from harness.cli.entry import Entry, check_entrants, conclude, entry_for, prepared, refuse_alike, rules_for
from harness.cli.observer import ConsoleObserver
from harness.cli.people import score_people
from harness.cluster.heartbeat import LEASE_S
from harness.data.dataset import Fingerprinted
from harness.engine.registry import DEFAULT_ENGINE, ENGINES, open_engine
from harness.errors import ConfigurationError
from harness.results.records import OptOuts
from harness.run.evaluate import EvaluationRequest, evaluate


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("evaluate")(command)


def command(
    teams: Annotated[
        list[str] | None,
        typer.Argument(
            help="A submission's name, a folder of submissions/; or several, archives among them."
        ),
    ] = None,
    data: options.Data = options.DEFAULT_DATA,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    results: options.Results = options.DEFAULT_RESULTS,
    submissions: options.Submissions = options.DEFAULT_SUBMISSIONS,
    image: options.Images = None,
    split: options.Split = None,
    case: options.Cases = None,
    profile: options.Profile = None,
    jobs: Annotated[
        int, typer.Option("--jobs", "-j", min=1, help="Containers at once; more than one disturbs times.")
    ] = 1,
    overlap: Annotated[
        bool, typer.Option("--overlap-scoring", help="Score beside the next case, on cores it may not use.")
    ] = False,
    warm_up: Annotated[
        bool,
        typer.Option("--warm-up", help="Run the first case twice, so that one run tells the cold start."),
    ] = False,
    device: options.Device = None,
    requires_root: options.RequiresRoot = False,
    writable_root: options.WritableRoot = False,
    writable_inputs: options.WritableInputs = False,
    input_socket: options.InputSockets = None,
    output_socket: options.OutputSocket = None,
    runtime: options.Runtime = "",
    engine: Annotated[
        str,
        typer.Option(
            "--engine",
            help=f"One of {', '.join(ENGINES)}. process: no isolation, for development; rows are marked.",
        ),
    ] = DEFAULT_ENGINE,
    roster: many.RosterFile = None,
    inbox: many.InboxFolder = None,
    all_teams: many.AllTeams = False,
    watch: many.Watch = False,
    cluster: many.Cluster = None,
    lease: many.LeaseSeconds = LEASE_S,
) -> int:
    """Run a submission on every case, measure, score and store it. Each case gets a fresh container.

    Example: `harness evaluate small_unet --data DIR --challenge FILE`.

    Several --image are several teams, one after the other. Several names or archives, --teams, --inbox
    or --all evaluate many teams: the first case of each comes first, and one that is broken stops no
    other. An interrupted evaluation goes on where it stopped. The exit code is 1 if no case of a team
    succeeded, and 4 if cases are left without a verdict because the host failed.
    """
    chosen = many.chosen(
        teams or [], images=image or [], roster=roster, inbox=inbox, every=all_teams, submissions=submissions
    )
    if chosen is None and watch:
        raise ConfigurationError("--watch watches an inbox", mend="Name it: --inbox DIR.")
    team = teams[0] if teams else None
    rules = load_challenge(challenge)
    sockets = options.sockets_of(input_socket, output_socket)
    options.check_profile(profile)
    options.check_device(device, with_image=bool(image))
    if chosen is None:
        check_entrants(team, image or [], submissions)
    dataset = prepared(data, challenge=rules, split=split, cases=case)
    opt_outs = OptOuts(
        requires_root=requires_root, writable_root=writable_root, writable_inputs=writable_inputs
    )
    if chosen is not None or cluster is not None:
        dataset = Fingerprinted.of(dataset)
    runner = open_engine(engine)

    def request_for(entry: Entry) -> EvaluationRequest:
        return EvaluationRequest(
            team=entry.team,
            title=entry.title,
            image=entry.image,
            device=entry.device,
            opt_outs=entry.opt_outs,
            environment=entry.environment,
            challenge=rules_for(rules, sockets or entry.sockets),
            dataset=dataset,
            results=results,
            profile=profile,
            jobs=jobs,
            overlap_scoring=overlap,
            runtime=runtime,
            warm_up=warm_up,
            argv=tuple(sys.argv),
        )

    if chosen is not None or cluster is not None:
        general = many.General(submissions, rules, device, opt_outs)
        call = many.Call(runner, results / rules.name, general, request_for, watch=watch)
        field = chosen or many.one_of(team, image or [])
        code = call.evaluate(field) if cluster is None else call.distribute(field, cluster, lease_s=lease)
        score_people(rules, dataset, results, fingerprint=dataset.fingerprint(), profile=profile)
        return code
    # All are made ready before the first one runs, so that a bad archive is told of at once.
    images: list[str | None] = [*image] if image else [None]
    entries = [
        entry_for(
            runner, team, each, submissions=submissions, challenge=rules, device=device, opt_outs=opt_outs
        )
        for each in images
    ]
    if team is None:
        for entry in entries:
            refuse_alike(results / rules.name, entry)
    codes = []
    for entry in entries:
        with ConsoleObserver() as observer:
            finished = evaluate(request_for(entry), engine=runner, observer=observer)
        fingerprint = finished.record.dataset.fingerprint
        score_people(rules, dataset, results, fingerprint=fingerprint, profile=profile)
        codes.append(conclude(finished))
    return max(codes)
