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
from harness.submission.manifest import check_name
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
    """Write the folder of a new submission: template or own script.

    Example: `harness new mine`, or `harness new mine --script predict.py --with weights`.
    """
    of_script = {"--arguments": arguments, "--with": beside, "--requirements": requirements}
    sockets = options.sockets_of(input_socket, output_socket)
    _belong_to("--script", script, of_script)
    _belong_to("--grand-challenge", grand_challenge, {"--input-socket, --output-socket": sockets})
    if script is not None and grand_challenge is not None:
        raise ConfigurationError(
            "a submission is made from one thing", where="--script, --grand-challenge", mend="Name one."
        )
    if grand_challenge is not None:
        folder = _algorithm(team, grand_challenge, sockets, submissions)
    elif script is not None:
        folder = from_script(
            team,
            submissions,
            script,
            arguments=arguments or DEFAULT_ARGUMENTS,
            weights=beside or [],
            requirements=requirements,
        )
    else:
        folder = from_template(team, submissions)
    print(folder)
    say(f"next: harness check {team}")


def _belong_to(option: str, value: object, others: Mapping[str, object]) -> None:
    """Refuse options that say more about something that is not there."""
    if value is None and (idle := [name for name, given in others.items() if given]):
        raise ConfigurationError(
            f"{', '.join(idle)}: this is about {option}, which is not given", mend=f"Name it with {option}."
        )


def _algorithm(team: str, wrapped: str, sockets: Sockets | None, submissions: Path) -> Path:
    check_name(team)
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
