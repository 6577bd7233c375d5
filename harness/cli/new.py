"""`harness new`: the folder of a new submission."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli import options
from harness.cli.display import say
from harness.errors import ConfigurationError
from harness.submission.find import find
from harness.submission.manifest import check_name
from harness.submission.wrap import wrap


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("new")(command)


def command(
    team: Annotated[str, typer.Argument(help="The new submission's name, a folder of submissions/.")],
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
    """Make a submission's folder from another one: an algorithm of grand-challenge.org."""
    check_name(team)
    if grand_challenge is None:
        raise ConfigurationError(
            "what the submission is made from is not said",
            mend="E.g. harness new mine-gc --grand-challenge mine --input-socket ct --output-socket organs",
        )
    sockets = options.sockets_of(input_socket, output_socket)
    if sockets is None:
        raise ConfigurationError(
            "the algorithm's sockets are not named",
            where="--input-socket, --output-socket",
            mend="Give the slugs of the interface that the challenge's phase asks for.",
        )
    folder = submissions / team
    for changed in wrap(find(grand_challenge, submissions), folder, sockets):
        say(f"written: {folder / changed}")
    print(folder)
