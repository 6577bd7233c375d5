"""`harness new`: the folder of a new submission, which builds and passes a check at once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.display import say
from harness.errors import ConfigurationError
from harness.submission.starter import DEFAULT_ARGUMENTS, from_script, from_template


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
    submissions: options.Submissions = options.DEFAULT_SUBMISSIONS,
) -> None:
    """Write the folder of a new submission: template or own script.

    Example: `harness new mine`, or `harness new mine --script predict.py --with weights`.
    """
    if script is None:
        if arguments is not None or beside or requirements is not None:
            raise ConfigurationError(
                "--arguments, --with and --requirements are about a script", mend="Name it with --script."
            )
        folder = from_template(team, submissions)
    else:
        folder = from_script(
            team,
            submissions,
            script,
            arguments=arguments or DEFAULT_ARGUMENTS,
            weights=beside or [],
            requirements=requirements,
        )
    print(folder)
    say(f"next: harness check {team}")
