"""`harness pack`: the archive that a team hands in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge
from harness.cli import completion, options
from harness.cli.display import progress, say
from harness.data.dataset import file_sha256
from harness.engine.registry import images_of, open_engine
from harness.submission.build import build
from harness.submission.find import find
from harness.submission.pack import pack

_MB = 10**6


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("pack")(command)


def command(
    team: Annotated[str, typer.Argument(help="The submission's name.", autocompletion=completion.teams)],
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    submissions: options.Submissions = options.DEFAULT_SUBMISSIONS,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the archive goes.")] = Path("dist"),
) -> None:
    """Build the image and write TEAM.tar.gz, as `docker save` does. Its path and SHA-256 are printed.

    Example: `harness pack small_unet`.
    """
    submission = find(team, submissions)
    images = images_of(open_engine())
    image = build(submission, challenge=load_challenge(challenge).name, images=images, progress=say)
    with progress("packing, MB") as advance:
        archive = pack(
            images,
            image.digest,
            team=submission.name,
            folder=output,
            progress=lambda done, total: advance(done // _MB, total // _MB),
        )
    print(f"{archive}\t{file_sha256(archive)}")
