"""submission.toml: who made a submission, what it asks for, and how its image is built."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.challenge.sockets import Sockets
from harness.errors import ConfigurationError, SubmissionError

NAME_PATTERN = r"^[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*$"
"""A team's name is part of image names and folders, so it follows the image registries' rule."""

MOST_NAME_LETTERS = 64
MOST_TITLE_LETTERS = 200

Positive = Annotated[float, Field(gt=0)]
TomlText = Annotated[str, Field(strict=True)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RequestedLimits(_Record):
    """What the authors say a case needs; a challenge's limits come first. GB are GiB, as for `docker -m`."""

    memory_gb: Positive | None = None
    cpus: Positive | None = None
    time_s: Positive | None = None
    gpu_memory_gb: Positive | None = None


class ForChallenge(_Record):
    """What differs for one challenge."""

    build_args: dict[str, TomlText] = {}


class Manifest(_Record):
    """The contents of a submission.toml."""

    name: str = Field(pattern=NAME_PATTERN, max_length=MOST_NAME_LETTERS)
    title: str = Field("", max_length=MOST_TITLE_LETTERS)
    authors: tuple[Annotated[str, Field(max_length=200)], ...] = Field((), max_length=200)
    paper: str = Field("", max_length=500, description="where the method is described: a URL or a DOI")
    device: Literal["cpu", "cuda"] = "cpu"
    limits: RequestedLimits = RequestedLimits()
    requires_root: bool = Field(False, description="opt-out: the container's user is root")
    writable_inputs: bool = Field(
        False, description="opt-out: a private copy of the inputs that it may write to"
    )
    writable_root: bool = Field(False, description="opt-out: the container may write to its root file system")
    build_network: bool = Field(False, description="whether the Dockerfile's RUN lines may use the network")
    grand_challenge: Sockets | None = Field(
        None, description="the image is an algorithm of grand-challenge.org: its input and output sockets"
    )
    needs: tuple[TomlText, ...] = Field(
        (), description="what training must have made in the folder before a build"
    )
    build_args: dict[str, TomlText] = {}
    challenge: dict[str, ForChallenge] = {}

    def build_args_for(self, challenge: str) -> dict[str, str]:
        """Return the build arguments for a challenge: the common ones, overridden by its own."""
        own = self.challenge.get(challenge, ForChallenge())
        return self.build_args | own.build_args


def read_manifest(path: Path) -> Manifest:
    """Read and check a submission.toml.

    Raises:
        SubmissionError: it is missing, is not TOML, or has a field that is unknown or wrong.
    """
    try:
        return Manifest.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError as error:
        raise SubmissionError(
            "the submission has no submission.toml",
            where=path.parent,
            mend='Add one; it needs at least name = "..."',
        ) from error
    except OSError as error:
        raise SubmissionError(
            "submission.toml cannot be read", where=path, mend=f"{error.strerror}."
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SubmissionError("submission.toml is not TOML", where=path, mend=f"{error}.") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise SubmissionError(
            "submission.toml has wrong fields", where=path, mend=f"{faults}. docs/images.md lists the fields."
        ) from error


def check_name(name: str) -> None:
    """Check that a new submission may have this name.

    Raises:
        ConfigurationError: it may not.
    """
    if len(name) > MOST_NAME_LETTERS or re.fullmatch(NAME_PATTERN, name) is None:
        raise ConfigurationError(
            f"{name!r} is no name of a submission",
            mend="Use lower case letters, digits and single . _ - between them.",
        )
