"""`harness build`: images by content; unchanged means nothing to do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import load_challenge, shipped_names
from harness.cli import options
from harness.cli.display import say
from harness.engine.registry import images_of, open_engine
from harness.errors import ConfigurationError
from harness.submission.build import build as build_image
from harness.submission.build import ensure
from harness.submission.find import discover, find
from harness.submission.image import BuiltImage
from harness.submission.recipes import EVALUATOR
from harness.submission.sbom import sbom_of

_MB = 1e6


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("build")(build)


def build(
    team: options.OptionalTeam = None,
    all_teams: Annotated[bool, typer.Option("--all", help="Every submission, for every challenge.")] = False,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    submissions: options.Submissions = options.DEFAULT_SUBMISSIONS,
    sbom: Annotated[
        bool, typer.Option("--sbom/--no-sbom", help="Write each image's bill of materials (CycloneDX).")
    ] = True,
) -> None:
    """Build a submission's image, and the images under it where they are missing or changed.

    With --all also the evaluator's image, which scores folders on hosts without Python. An image's line ends
    with the path of its bill of materials: the packages of Debian and Python in it.
    """
    if (team is None) != all_teams:
        raise ConfigurationError("name one TEAM, or give --all", mend="E.g. `harness build small_unet`.")
    images = images_of(open_engine())
    if team is not None:
        submission = find(team, submissions)
        image = build_image(submission, challenge=load_challenge(challenge).name, images=images, progress=say)
        show(image, sbom_of(images, image) if sbom else None)
        return
    built: dict[str, BuiltImage] = {}
    for name in discover(submissions):
        submission = find(name, submissions)
        if submission.missing:
            say(f"{name}: not built; it must be trained first, which makes {', '.join(submission.missing)}")
            continue
        for rules in shipped_names():
            image = build_image(submission, challenge=rules, images=images, progress=say)
            built.setdefault(image.reference, image)
    for image in (*built.values(), ensure(images, EVALUATOR, say)):
        show(image, sbom_of(images, image) if sbom else None)


def show(image: BuiltImage, sbom: Path | None) -> None:
    """Print an image's name, digest, size and bill of materials as one line of data."""
    line = f"{image.reference}\t{image.digest}\t{image.size_bytes / _MB:.0f} MB"
    print(line if sbom is None else f"{line}\t{sbom}")
