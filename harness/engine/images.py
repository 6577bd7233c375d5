"""The images of a container engine: one typed client to look up, load, save, build and remove them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Protocol

from harness.errors import InfrastructureError

_CONTAINERD = "io.containerd.snapshotter"
_CPU_PERIOD_US = 100_000


@dataclass(frozen=True)
class EngineImage:
    """An image as an engine describes it.

    Attributes:
        id: The engine's own content-addressed id, `sha256:...`: of the config in Docker's classic store and
            in Podman, of the manifest in Docker's containerd store.
        config_digest: SHA-256 of the config where the engine names images by it; empty where it does not.
        platform: `linux/amd64`.
        user: As its author set it; empty means root.
        environment: `NAME=value`, as written, also what has no name.
        health_check: The test's words; empty where there is none.
        diff_ids: SHA-256 of each layer unpacked, lowest first.
    """

    id: str
    config_digest: str = ""
    tags: tuple[str, ...] = ()
    size_bytes: int = 0
    platform: str = ""
    user: str = ""
    working_folder: str = ""
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    health_check: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    diff_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class ListedImage:
    """One line of the engine's list of images."""

    id: str
    tags: tuple[str, ...]


@dataclass(frozen=True)
class BuildLimits:
    """What a build's RUN lines may use together. The engine bounds each line, the time bounds them all."""

    memory_bytes: int
    cpus: float
    time_s: float


@dataclass(frozen=True)
class BuildRequest:
    """One build.

    Attributes:
        tag: What the image is called.
        context: A tar of the build context, Dockerfile included, open at its start.
        arguments: As for `docker build --build-arg`.
        network: Whether RUN lines have the engine's network; otherwise they have none.
    """

    tag: str
    context: IO[bytes]
    arguments: Mapping[str, str]
    labels: Mapping[str, str]
    network: bool
    limits: BuildLimits


@dataclass(frozen=True)
class EngineHost:
    """The machine that an engine runs on."""

    cores: int
    memory_bytes: int


class EngineRefused(InfrastructureError):
    """The engine answered, and refuses; the message is the engine's, on one line.

    Where that is somebody's fault, whoever asked says whose; otherwise it is the host's trouble.
    """


class ImageClient(Protocol):
    """What the harness asks of an engine about images.

    Every call raises InfrastructureError where the engine went away or its disk is full, and
    `EngineRefused` where the engine's own answer is no.
    """

    @property
    def platform(self) -> str:
        """What the engine runs, `linux/amd64`."""

    @property
    def folder(self) -> Path | None:
        """Where it keeps images, if that is a folder of this host."""

    @property
    def host(self) -> EngineHost:
        """What builds can share."""

    def inspect(self, reference: str) -> EngineImage | None:
        """Return what the engine has under a tag or id now, or None."""

    def list(self) -> tuple[ListedImage, ...]:
        """Return every image that has a tag, and those that have none and no child."""

    def load(self, archive: Iterable[bytes]) -> None:
        """Load a `docker save` archive."""

    def save(self, reference: str) -> Iterator[bytes]:
        """Yield the image as `docker save` writes it."""

    def tag(self, reference: str, tag: str) -> None:
        """Give an image one more name."""

    def build(self, request: BuildRequest) -> Iterator[Mapping[str, Any]]:
        """Build an image, and yield the engine's events; TimeoutError when the build takes too long."""

    def pull(self, reference: str) -> None:
        """Fetch an image from its registry."""

    def is_offered(self, reference: str, *, within_s: float) -> bool:
        """Whether a registry says within that time that it has the image."""

    def import_root(self, archive: Path, tag: str, labels: Mapping[str, str]) -> None:
        """Make an image of one layer from a tar of its root file system."""

    def remove(self, reference: str, *, keep_parents: bool = False) -> None:
        """Remove a tag, and the image when it was its last."""
