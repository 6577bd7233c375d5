"""The words of lint: what an image holds, how it will be judged, and what was found about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Literal

from harness.submission.contents import ImageTree

DEFAULT_COMMAND = ("/bin/bash", "-c", "sh predict.sh")
DEFAULT_PLATFORM = "linux/amd64"
CASE_USER = 65532


@dataclass(frozen=True)
class Finding:
    """One thing about an image. An `error` will fail or disqualify it; a `warning` is worth a look.

    Attributes:
        rule: A short constant name, such as `user` or `labels`.
    """

    level: Literal["error", "warning"]
    rule: str
    message: str
    mend: str


@dataclass(frozen=True)
class Judge:
    """How the image will be run.

    Attributes:
        platform: What the judge's engine runs.
        command: The challenge's argv (`Contract.command`); None runs the image's own entrypoint.
        requires_root: Whether the submission opted out of an ordinary user.
        driver: The judge's NVIDIA driver, `535.104.05`; empty where it is not known.
        folders: The contract's folders, which are mounted.
    """

    platform: str = DEFAULT_PLATFORM
    command: tuple[str, ...] | None = DEFAULT_COMMAND
    requires_root: bool = False
    driver: str = ""
    folders: tuple[str, ...] = ("/workspace/inputs", "/workspace/outputs")

    def on(self, platform: str) -> Judge:
        """Return the same judge with an engine of another platform."""
        return replace(self, platform=platform)

    @property
    def uid(self) -> int:
        """The user id of a case's processes."""
        return 0 if self.requires_root else CASE_USER


@dataclass(frozen=True)
class ImageContents:
    """What the rules look at: the image's settings, and what a container of it finds.

    Attributes:
        environment: `NAME=value`, as written.
        working_folder: Absolute.
        volumes: Medical volumes in any layer, also those that a later layer deletes.
    """

    platform: str
    size_bytes: int
    user: str = ""
    working_folder: str = "/"
    entrypoint: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    declared_volumes: tuple[str, ...] = ()
    health_check: tuple[str, ...] = ()
    tree: ImageTree = field(default_factory=ImageTree)
    volumes: tuple[str, ...] = ()

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment by name."""
        return dict(entry.partition("=")[::2] for entry in self.environment)

    def at_work(self, path: str) -> str:
        """Return an absolute path for one that may be relative to the working folder."""
        return str(PurePosixPath(self.working_folder) / path)
