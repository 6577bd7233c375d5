"""`harness new`: the folder of a new submission, which builds and passes a check at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from harness.challenge import Sockets
from harness.cli import options
from harness.cli.display import say
from harness.errors import ConfigurationError
from harness.submission.find import find
from harness.submission.folder import CHALLENGE
from harness.submission.monai import from_monai
from harness.submission.scaffold import WEIGHTS, from_nnunet
from harness.submission.starter import DEFAULT_ARGUMENTS, from_script, from_template
from harness.submission.wrap import wrap


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("new")(command)


def command(
    team: Annotated[str, typer.Argument(help="The new submission's name, a folder of submissions/.")],
    script: Annotated[
        Path | None,
        typer.Option("--script", help="A Python script that predicts a folder of images; it is copied."),
    ] = None,
    arguments: Annotated[
        str | None,
        typer.Option("--arguments", help=f"How the script is called; default: {DEFAULT_ARGUMENTS}"),
    ] = None,
    beside: Annotated[
        list[Path] | None,
        typer.Option("--with", help="A file or folder (weights, modules) for the script; may be repeated."),
    ] = None,
    requirements: Annotated[
        Path | None, typer.Option("--requirements", help="What pip installs while the image is built.")
    ] = None,
    nnunet: Annotated[
        Path | None,
        typer.Option("--from-nnunet", help="A results folder of nnU-Net v2: of a model, or of a data set."),
    ] = None,
    monai: Annotated[
        Path | None,
        typer.Option("--from-monai", help="A MONAI bundle's folder, with a TorchScript network."),
    ] = None,
    configurations: Annotated[
        list[str] | None,
        typer.Option(
            "--configuration", help="Average this one; may be repeated. Default: what nnU-Net found best."
        ),
    ] = None,
    folds: Annotated[
        list[str] | None, typer.Option("--fold", help="Only this fold; may be repeated. Default: all.")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option("--checkpoint", help="Each fold's file; default: checkpoint_final.pth.")
    ] = None,
    postprocessing: Annotated[
        str | None,
        typer.Option("--postprocessing", help="nnU-Net's file, or none. Default: what nnU-Net determined."),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(
            "--orientation",
            help="How volumes lay in training: stored, canonical (LPS) or ras. Default: nnU-Net's way.",
        ),
    ] = None,
    grand_challenge: Annotated[
        str | None,
        typer.Option(
            "--grand-challenge", help="Wrap this submission as an algorithm of grand-challenge.org."
        ),
    ] = None,
    input_socket: options.InputSockets = None,
    output_socket: options.OutputSocket = None,
    submissions: options.Submissions = options.DEFAULT_SUBMISSIONS,
) -> None:
    """Write a new submission: template, script, nnU-Net, MONAI.

    Example: `harness new mine`, `harness new mine --script predict.py --with weights`,
    `harness new mine --from-nnunet nnUNet_results/Dataset007_Liver`, or
    `harness new mine --from-monai spleen_ct_segmentation`.
    """
    of_script = {"--arguments": arguments, "--with": beside, "--requirements": requirements}
    of_nnunet = {
        "--configuration": configurations,
        "--fold": folds,
        "--checkpoint": checkpoint,
        "--postprocessing": postprocessing,
        "--orientation": orientation,
    }
    sockets = options.sockets_of(input_socket, output_socket)
    _only_one(
        {
            "--script": script,
            "--from-nnunet": nnunet,
            "--from-monai": monai,
            "--grand-challenge": grand_challenge,
        }
    )
    _belong_to("--script", script, of_script)
    _belong_to("--from-nnunet", nnunet, of_nnunet)
    _belong_to("--grand-challenge", grand_challenge, {"--input-socket, --output-socket": sockets})
    if grand_challenge is not None:
        folder = _algorithm(team, grand_challenge, sockets, submissions)
    elif nnunet is not None:
        folder = from_nnunet(team, nnunet, submissions, options=_words(of_nnunet), progress=say)
    elif monai is not None:
        folder = from_monai(team, monai, submissions)
    elif script is not None:
        words = arguments or DEFAULT_ARGUMENTS
        folder = from_script(
            team, submissions, script, arguments=words, weights=beside or [], requirements=requirements
        )
    else:
        folder = from_template(team, submissions)
    print(folder)
    rules = folder / CHALLENGE
    say(f"next: harness check {team} --data DATA --challenge {rules if rules.is_file() else 'FILE'}")
    if nnunet is not None:
        say(f"for 8-bit integers: python -m segkit.nnunet.quantise {folder / WEIGHTS} --data DATA")


def _only_one(sources: Mapping[str, object]) -> None:
    if len(given := [name for name, value in sources.items() if value is not None]) > 1:
        raise ConfigurationError(
            "a submission is made from one thing", where=", ".join(given), mend="Name one of them."
        )


def _belong_to(option: str, value: object, others: Mapping[str, object]) -> None:
    """Refuse options that say more about something that is not there."""
    if value is None and (idle := [name for name, given in others.items() if given]):
        raise ConfigurationError(
            f"{', '.join(idle)}: this is about {option}, which is not given", mend=f"Name it with {option}."
        )


def _words(given: Mapping[str, object]) -> list[str]:
    """Return options as another program takes them; a list repeats its option."""
    words: list[str] = []
    for option, value in given.items():
        for word in value if isinstance(value, list) else [value]:
            if word is not None:
                words += [option, str(word)]
    return words


def _algorithm(team: str, wrapped: str, sockets: Sockets | None, submissions: Path) -> Path:
    if sockets is None:
        raise ConfigurationError(
            "the algorithm's sockets are not named",
            where="--input-socket, --output-socket",
            mend="Give the slugs of the interface that the challenge's phase asks for.",
        )
    folder = submissions / team
    for changed in wrap(find(wrapped, submissions), folder, sockets):
        say(f"written: {folder / changed}")
    return folder
