"""What commands share that run submissions: the data set, what is to be run, and how it went."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness.challenge import Challenge, Sockets, for_algorithms
from harness.cli.display import progress, say
from harness.data.check import check_channels, check_dataset, require_sound
from harness.data.dataset import Dataset, open_dataset
from harness.engine.base import ContainerEngine
from harness.engine.images import ImageClient
from harness.errors import EXIT_INFRASTRUCTURE, EXIT_OK, EXIT_SUBMISSION_FAILED, ConfigurationError
from harness.results.folder import MOST_TITLE_LETTERS, RunResults, read_run_record
from harness.results.journal import RUN_FILE
from harness.results.records import OptOuts, Outcome
from harness.submission.build import build
from harness.submission.find import Submission, find
from harness.submission.load import INTAKE_IMAGES, name_in, take_in, team_of
from harness.submission.recipes import folders_of


@dataclass(frozen=True)
class Entry:
    """What is to be run, found and pinned.

    Attributes:
        team: The name of its row.
        image: The image's digest; the process engine takes the submission's folder and what it imports.
        environment: `NAME=value`, what a folder that is run unbuilt would get from its Dockerfile.
        sockets: Of an algorithm of grand-challenge.org.
    """

    team: str
    title: str
    image: str
    device: Literal["cpu", "cuda"]
    opt_outs: OptOuts
    environment: tuple[str, ...] = ()
    sockets: Sockets | None = None


def check_entrants(team: str | None, images: Sequence[str], submissions: Path) -> None:
    """Check that each team has one name and each name one team, before any data are read.

    Raises:
        ConfigurationError: no team is named, one that does not exist, or two images would be one team.
    """
    if not images:
        _submission(team, submissions)
        return
    names = [team or team_of(image) for image in images]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise ConfigurationError(
            f"{names.count(twice)} images would be the one team {twice!r}",
            where="--image",
            mend="Name TEAM with one image; of several, each is the team of its file's name.",
        )


def prepared(
    folder: Path, *, challenge: Challenge, split: str | None = None, cases: list[str] | None = None
) -> Dataset:
    """Open a data set with references and read every file of it, so that nothing runs on a broken one."""
    dataset = open_dataset(folder, split=split)
    check_channels(dataset, challenge.contract.channels)
    if cases:
        dataset = dataset.select(cases)
    with progress("checking the data") as advance:
        require_sound(check_dataset(dataset, labels=challenge.labels, progress=advance))
    for note in dataset.notes:
        say(note)
    return dataset


def entry_for(
    engine: ContainerEngine,
    team: str | None,
    image: str | None,
    *,
    submissions: Path,
    challenge: Challenge,
    device: str | None,
    opt_outs: OptOuts,
) -> Entry:
    """Find what is to be run and make it ready: an image is taken in, a submission's folder is built.

    Raises:
        ConfigurationError: neither a team nor an image is named, or the engine runs no images.
    """
    if image is not None:
        if engine.images is None:
            raise ConfigurationError(
                f"the engine {engine.facts.name} runs folders, not images",
                where="--image",
                mend="Use --engine docker.",
            )
        return image_entry(
            image, team, challenge=challenge, images=engine.images, device=device, opt_outs=opt_outs
        )
    submission = _submission(team, submissions)
    if engine.images is None:
        say("NOT ISOLATED: the submission runs as a process with your own rights, and its row is marked")
        entry = _entry(submission, os.pathsep.join(map(str, folders_of(submission))), opt_outs)
        arguments = submission.manifest.build_args_for(challenge.name)
        return replace(entry, environment=tuple(f"{name}={value}" for name, value in arguments.items()))
    built = build(submission, challenge=challenge.name, images=engine.images, progress=say)
    return _entry(submission, built.digest, opt_outs)


def rules_for(challenge: Challenge, sockets: Sockets | None) -> Challenge:
    """Return the challenge as an entry is run: by its own contract, or by that of grand-challenge.org."""
    return challenge if sockets is None else for_algorithms(challenge, sockets)


def image_entry(
    image: str,
    team: str | None,
    *,
    challenge: Challenge,
    images: ImageClient,
    device: str | None,
    opt_outs: OptOuts,
) -> Entry:
    """Take an image by tag, from a `docker save` archive, or from an OCI layout, and pin it."""
    loaded = take_in(image, challenge=challenge.name, images=images, progress=say)
    spelt = name_in(image)
    return Entry(
        team=team or team_of(image),
        # Kept where it differs, so that another team whose name differs only there is known as another.
        title=spelt[:MOST_TITLE_LETTERS] if team is None and spelt != team_of(image) else "",
        image=loaded.digest,
        device="cuda" if device == "cuda" else "cpu",
        opt_outs=opt_outs,
    )


def refuse_alike(results: Path, entry: Entry) -> None:
    """Refuse an image whose name differs from that of its team's earlier runs in spelling only.

    `TeamA.tar` and `teama.tar` may be two teams; under one name the newer run would replace the other's row.

    Args:
        results: The challenge's folder of results.
        entry: What is about to be run.

    Raises:
        ConfigurationError: the team has runs under another spelling.
    """
    for run in sorted((results / entry.team).glob(f"*/{RUN_FILE}")):
        record = read_run_record(run.parent)
        if record.image is None or not record.image.reference.startswith(f"{INTAKE_IMAGES}/"):
            continue  # of a folder, whose manifest names the team
        title = record.title
        earlier = title if title and team_of(title) == entry.team else entry.team
        if earlier != (entry.title or entry.team):
            raise ConfigurationError(
                f"{entry.team!r} has results already, of {earlier!r}",
                where=run.parent,
                mend="Name the team in front of --image: the same name if it is the same team.",
            )


def conclude(finished: RunResults) -> int:
    """Say in one line how a run went, print its folder, and return the exit code."""
    counts: dict[str, int] = {}
    for execution in finished.final_executions().values():
        counts[execution.outcome.value] = counts.get(execution.outcome.value, 0) + 1
    say(f"{finished.record.team}: " + ", ".join(f"{count} {name}" for name, count in sorted(counts.items())))
    print(finished.folder)
    if lost := counts.get(Outcome.INFRASTRUCTURE.value):
        say(f"{lost} case(s) have no verdict, because this host failed; the same command tries them again")
        return EXIT_INFRASTRUCTURE
    return EXIT_OK if counts.get(Outcome.SUCCEEDED.value) else EXIT_SUBMISSION_FAILED


def _submission(team: str | None, submissions: Path) -> Submission:
    if team is None:
        raise ConfigurationError(
            "name a TEAM or an --image",
            mend="A team is a folder of submissions/, an image an archive or a tag.",
        )
    return find(team, submissions)


def _entry(submission: Submission, image: str, opt_outs: OptOuts) -> Entry:
    manifest = submission.manifest
    return Entry(
        team=submission.name,
        title=manifest.title,
        image=image,
        device=manifest.device,
        sockets=manifest.grand_challenge,
        opt_outs=OptOuts(
            requires_root=manifest.requires_root or opt_outs.requires_root,
            writable_root=manifest.writable_root or opt_outs.writable_root,
            writable_inputs=manifest.writable_inputs or opt_outs.writable_inputs,
        ),
    )
