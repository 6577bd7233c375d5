"""Options that several commands share, so that they are spelled, explained and checked once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from evaluator.errors import choose_one_of
from harness.challenge import Sockets
from harness.errors import ConfigurationError

Challenge = Annotated[
    str, typer.Option("--challenge", "-c", help="A shipped challenge's name, or the path of a .toml file.")
]
Results = Annotated[Path, typer.Option("--results", help="The folder that results are stored in.")]
Submissions = Annotated[Path, typer.Option("--submissions", help="The folder that submissions are found in.")]
Data = Annotated[Path, typer.Option("--data", help="A folder with imagesVal/ and labelsVal/.")]
OptionalTeam = Annotated[str | None, typer.Argument(help="The submission's name, a folder of submissions/.")]
Profile = Annotated[
    str | None, typer.Option("--profile", help="Scoring rules: exact, or flare. Default: the challenge's.")
]
CaseTable = Annotated[
    Path | None,
    typer.Option("--cases", help="A CSV file with a column `case` and others (scanner, sex), for subgroups."),
]
Split = Annotated[str | None, typer.Option("--split", help="Val, Ts or Tr; default: the first there is.")]
Images = Annotated[
    list[str] | None,
    typer.Option("--image", help="Instead of TEAM's folder: a tag, a docker-save tar, or OCI."),
]
Cases = Annotated[list[str] | None, typer.Option("--case", help="Only this case; may be repeated.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu or cuda, for --image.")]
RequiresRoot = Annotated[bool, typer.Option("--requires-root", help="Opt-out: run as root; it is recorded.")]
WritableRoot = Annotated[
    bool, typer.Option("--writable-root", help="Opt-out: a writable root file system; it is recorded.")
]
WritableInputs = Annotated[
    bool,
    typer.Option("--writable-inputs", help="Opt-out: a private copy of the inputs to write to."),
]
Runtime = Annotated[
    str, typer.Option("--runtime", help="OCI runtime, as the engine names it; default: the challenge's.")
]
AcrossHosts = Annotated[
    bool,
    typer.Option("--across-hosts", help="Rank on time across unlike hosts too."),
]
Unsigned = Annotated[
    bool,
    typer.Option("--unsigned", help="Take runs that this host's key did not sign; their rows are marked."),
]

InputSockets = Annotated[
    list[str] | None,
    typer.Option(
        "--input-socket",
        help="For an algorithm of grand-challenge.org: its image input, SLUG[=FOLDER]; one a channel.",
    ),
]
OutputSocket = Annotated[
    str | None, typer.Option("--output-socket", help="And its label output, SLUG[=FOLDER].")
]

DEVICES = ("cpu", "cuda")

DEFAULT_CHALLENGE = "phantom"
DEFAULT_DATA = Path("data/phantom")
DEFAULT_RESULTS = Path("results")
DEFAULT_SUBMISSIONS = Path("submissions")


def check_profile(profile: str | None) -> None:
    """Check that there is such a scoring profile, before a night is spent on it.

    Raises:
        ConfigurationError: there is none.
    """
    from evaluator.shipped import PROFILES  # loads the evaluator, which most options have no use for

    if profile is not None and profile not in PROFILES:
        raise ConfigurationError(
            f"there is no profile {profile!r}", where="--profile", mend=f"{choose_one_of(profile, PROFILES)}."
        )


def sockets_of(inputs: list[str] | None, output: str | None) -> Sockets | None:
    """Return the sockets of a grand-challenge algorithm; None if none are named.

    Raises:
        ConfigurationError: only one side is named, or a name is none.
    """
    if not inputs and output is None:
        return None
    try:
        return Sockets.model_validate({"input": inputs or [], "output": output})
    except ValidationError as error:
        raise ConfigurationError(
            "the sockets of the algorithm are not clear",
            where="--input-socket, --output-socket",
            mend="Name both by their slugs, e.g. --input-socket ct-image=ct --output-socket organs.",
        ) from error


def check_device(device: str | None, *, with_image: bool) -> None:
    """Check that a device is one, and that something is told by it.

    Raises:
        ConfigurationError: there is no such device, or it stands beside no image.
    """
    if device is None:
        return
    if device not in DEVICES:
        raise ConfigurationError(
            f"{device!r} is no device", where="--device", mend=f"{choose_one_of(device, DEVICES)}."
        )
    if not with_image:
        raise ConfigurationError(
            "--device is for images; a submission's folder names its own",
            where="--device",
            mend="Set `device` in its submission.toml, or give --image.",
        )
