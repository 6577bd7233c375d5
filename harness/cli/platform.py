"""`harness platform`: a challenge on somebody else's platform, grand-challenge or Codabench."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from evaluator.platforms.rules import rules_to_json
from harness.challenge import load_challenge
from harness.cli import options
from harness.cli.display import progress, say
from harness.data.dataset import open_dataset
from harness.engine.registry import images_of, open_engine
from harness.errors import ConfigurationError
from harness.interop.codabench import BundleOptions, write_bundle
from harness.interop.ground_truth import write_ground_truth
from harness.interop.platform_rules import platform_rules
from harness.submission.image import BuiltImage
from harness.submission.pack import pack
from harness.submission.scorer import build_scorer

Output = Annotated[Path, typer.Option("--output", "-o", help="The folder that the files go to.")]


def register(app: typer.Typer) -> None:
    """Add the command group to the application."""
    group = typer.Typer(
        help="Put a challenge on grand-challenge.org or Codabench.\n\n"
        "Example: `harness platform codabench --challenge FILE --data DIR`.",
        no_args_is_help=True,
    )
    group.command("grand-challenge")(grand_challenge)
    group.command("codabench")(codabench)
    app.add_typer(group, name="platform")


def grand_challenge(
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    data: Annotated[
        Path | None, typer.Option("--data", help="Also write the ground truth of this data set.")
    ] = None,
    split: options.Split = None,
    output: Output = Path("dist"),
    output_slug: Annotated[
        str,
        typer.Option(
            "--output-slug", help="The algorithms' output that is scored; default: their only image."
        ),
    ] = "",
) -> None:
    """Build the evaluation method's image and write it, and the ground truth, as the archives to upload.

    Example: `harness platform grand-challenge --challenge FILE --data DIR`.
    """
    rules = load_challenge(challenge)
    dataset = open_dataset(data, split=split) if data is not None else None
    text = rules_to_json(platform_rules(rules, dataset, output_slug=output_slug))
    images = images_of(open_engine())
    built = build_scorer(images, "grand-challenge", challenge=rules.name, rules=text, progress=say)
    with progress("packing") as advance:
        archive = pack(images, built.digest, team=f"{rules.name}-evaluation", folder=output, progress=advance)
    _show(built)
    print(archive)
    if dataset is not None:
        path = output / f"{rules.name}_ground_truth.tar.gz"
        write_ground_truth(dataset, path)
        print(path)


def codabench(
    data: options.Data = options.DEFAULT_DATA,
    challenge: options.Challenge = options.DEFAULT_CHALLENGE,
    split: options.Split = None,
    output: Output = Path("dist"),
    docker_image: Annotated[
        str,
        typer.Option(
            "--docker-image", help="What workers pull; default: it is built here, and its name printed."
        ),
    ] = "",
    start: Annotated[
        str, typer.Option("--start", help="The phase's first day, YYYY-MM-DD; default: today.")
    ] = "",
    terms: Annotated[
        Path | None, typer.Option("--terms", help="A Markdown file with the terms of participation.")
    ] = None,
    submissions_per_day: Annotated[int, typer.Option("--submissions-per-day", min=1)] = 5,
) -> None:
    """Write a competition bundle: competition.yaml, pages, scoring program and reference data as one zip.

    Example: `harness platform codabench --challenge FILE --data DIR`.
    """
    rules = load_challenge(challenge)
    first_day = _day(start)
    dataset = open_dataset(data, split=split)
    if not docker_image:
        built = build_scorer(images_of(open_engine()), "codabench", challenge=rules.name, progress=say)
        docker_image = built.reference
        _show(built)
        say(f"push {docker_image} to where your workers pull from, and name it there with --docker-image")
    path = output / f"{rules.name}_codabench.zip"
    stated = BundleOptions(
        docker_image=docker_image,
        start=first_day,
        submissions_per_day=submissions_per_day,
        terms="" if terms is None else _text(terms),
    )
    write_bundle(rules, dataset, path, stated)
    print(path)


def _day(text: str) -> date:
    if not text:
        return datetime.now(UTC).date()
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no day", where="--start", mend="Write e.g. 2030-04-01."
        ) from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            "the terms cannot be read", where=path, mend="Give a text file in UTF-8."
        ) from error


def _show(image: BuiltImage) -> None:
    print(f"{image.reference}\t{image.digest}\t{image.size_bytes / 1e6:.0f} MB")
