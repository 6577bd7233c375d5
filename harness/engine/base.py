"""What the rest of the harness knows of a container engine: one case in, one exit state out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from harness.engine.logs import LogKeeper

if TYPE_CHECKING:  # it imports the SDK of one engine
    from harness.engine.images import ImageClient


@dataclass(frozen=True)
class Mount:
    """A folder of the host inside the container."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Declared:
    """A folder that an image declares as a VOLUME.

    Attributes:
        target: The folder, in the container.
        copy: A volume of the engine's that holds what the image has there, mounted read-only like the rest
            of the image; empty where the image has nothing there, and the folder is scratch.
    """

    target: str
    copy: str = ""


@dataclass(frozen=True)
class ContainerSpec:
    """One container, fully decided. Sizes are bytes.

    Attributes:
        image: The pinned image id (`sha256:...`); the process engine takes a submission folder.
        command: The argv after the image's entrypoint; None runs the image's own command.
        entrypoint: Replaces the image's entrypoint; None keeps it.
        labels: How orphans are found again.
        user: `uid:gid` inside the container.
        file_bytes: The largest single file the container may write anywhere.
        cpus: CPU quota; None gives the whole host.
        cpuset: Cores to stay on, `0-3`; empty for all.
        gpu: UUID of the one GPU to attach; None for none.
        writable_root: Gives up the read-only root file system.
        cgroup_parent: A cgroup of ours above the container's, as the engine wants it named.
        image_environment: What the image sets, `NAME=value`; ours gives way to it.
        declared: The image's volumes.
        tmp_by_engine: Has the engine itself make `/tmp`, where the runtime would give it a mode in which
            nobody can write.
        runtime: The OCI runtime, by the name the engine knows it by; empty for the engine's default.
        capabilities: Of Linux, without `CAP_`; none for what a submission brings.
    """

    name: str
    image: str
    command: tuple[str, ...] | None
    memory_bytes: int
    shm_bytes: int
    tmp_bytes: int
    file_bytes: int
    log_bytes: int
    mounts: tuple[Mount, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    entrypoint: tuple[str, ...] | None = None
    user: str = "65532:65532"
    cpus: float | None = None
    cpuset: str = ""
    gpu: str | None = None
    writable_root: bool = False
    cgroup_parent: str | None = None
    image_environment: tuple[str, ...] = ()
    declared: tuple[Declared, ...] = ()
    tmp_by_engine: bool = False
    runtime: str = ""
    capabilities: tuple[str, ...] = ()


@dataclass(frozen=True)
class ExitState:
    """How a container ended, as the engine tells it.

    Attributes:
        exit_code: 128 + n after signal n; None when the engine does not know.
        oom_killed: Whether the kernel killed any process of the container for memory.
        error: The engine's own complaint, when it could not run the container.
    """

    exit_code: int | None
    oom_killed: bool
    error: str = ""


@dataclass(frozen=True)
class ImageInfo:
    """An image as the engine holds it.

    Attributes:
        digest: The engine's own content-addressed id, never a tag.
        source: What a container is made from, if that is not the digest: the process engine's folder.
        identity: The digest of the image's config, the same in every store; empty where it has none.
        environment: What it sets, `NAME=value`.
        volumes: Folders that it declares as volumes.
        entrypoint: Its own, and `command` the words after it.
        labels: By name.
    """

    reference: str
    digest: str
    size_bytes: int
    user: str = ""
    platform: str = ""
    source: str = ""
    identity: str = ""
    environment: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class EngineFacts:
    """What answers, and what it can enforce.

    Attributes:
        cgroup_driver: `cgroupfs` or `systemd`, which decides how a parent cgroup is named.
        isolated: False where nothing confines what runs; such an engine runs folders instead of images.
        cores: CPUs of the engine's host.
        warnings: Limits that the engine says it cannot enforce.
        maps_users: Whether a container's user ids are others on the host (rootless, userns-remap).
        rootless: Whether an ordinary user runs it.
        runtimes: OCI runtimes that it knows, the default one first.
        filters_calls: Whether it can filter system calls.
    """

    name: str
    version: str
    isolated: bool
    cgroup_version: Literal[1, 2] | None = None
    cgroup_driver: str = ""
    cores: int = 1
    warnings: tuple[str, ...] = ()
    maps_users: bool = False
    rootless: bool = False
    runtimes: tuple[str, ...] = ()
    filters_calls: bool = True

    @property
    def limits(self) -> bool:
        """Whether it can limit memory, CPU and processes: version 1 gives no cgroups to ordinary users."""
        return not (self.rootless and self.cgroup_version == 1)


class Container(Protocol):
    """A container that was created. Whoever created it removes it."""

    @property
    def id(self) -> str:
        """The engine's id."""

    def owns(self, pid: int) -> bool:
        """Whether a process of this host belongs to it."""

    def start(self) -> None:
        """Start it and return once it runs.

        Raises:
            StartRefused: the image or its command cannot be started; the submission's fault.
            InfrastructureError: the engine failed.
        """

    def started_at(self) -> float:
        """`time.monotonic()` of the moment from which it ran; after `start`.

        The earlier of the engine's answer and its own word on when the container started, so that a slow
        answer hides no work.
        """

    def wait(self, timeout_s: float) -> bool:
        """Return True once every process in it is gone, False after `timeout_s`.

        Raises:
            InfrastructureError: the engine went away.
        """

    def gone_at(self) -> float | None:
        """`time.monotonic()` of the moment that its end was seen; None while it runs."""

    def kill(self) -> None:
        """Send SIGKILL to every process in it. No error if it is gone already."""

    def state(self) -> ExitState:
        """Return how it ended. Only after `wait` returned True."""

    @property
    def root_pid(self) -> int | None:
        """Its first process, after `start`, where it has no cgroup of its own; None in a real container."""

    def mode_of(self, path: str) -> int | None:
        """The kind and mode of a file in it, as `st_mode` has them, without running anything.

        None where there is no such file, or the engine cannot look.
        """

    def content_of(self, path: str, *, most_bytes: int) -> bytes | None:
        """The bytes of a plain file in it, without running anything.

        None where there is no such file, it is larger, or the engine cannot look.
        """

    def statistics(self) -> Mapping[str, Any]:
        """The engine's own numbers of it, as the Docker Engine API gives them; empty where it has none."""

    def written_bytes(self) -> int:
        """Bytes written to the root file system, which is 0 when that is read-only."""

    def log(self) -> LogKeeper:
        """What it printed so far, both streams in order of arrival."""

    def remove(self) -> None:
        """Kill it if it runs, and remove it with everything it wrote to its root file system."""


class ContainerEngine(Protocol):
    """Something that runs containers."""

    @property
    def facts(self) -> EngineFacts:
        """What answers, asked once."""

    @property
    def registered(self) -> str:
        """Its name in `harness.engine.registry`."""

    @property
    def address(self) -> str | None:
        """Where it listens, as `open_engine` takes it; None for one that does not."""

    @property
    def images(self) -> ImageClient | None:
        """Its images, which are built, loaded and looked up by it; None for an engine that runs folders."""

    def image(self, reference: str) -> ImageInfo:
        """Return what a reference stands for, now. Nothing is pulled.

        Raises:
            ConfigurationError: there is no such image on this host.
        """

    def import_image(self, archive: bytes, tag: str) -> None:
        """Make an image of one layer from a tar archive of its root file system.

        Raises:
            PrerequisiteError: this engine knows no images.
        """

    def create(self, spec: ContainerSpec) -> Container:
        """Create a container without starting it.

        Raises:
            StartRefused: the image cannot be made into a container.
            InfrastructureError: the engine failed.
        """

    def copy_declared(
        self, image: ImageInfo, *, inside: tuple[str, ...], labels: Mapping[str, str]
    ) -> tuple[Declared, ...]:
        """Copy what an image has in the folders it declares as volumes, once for many containers.

        Args:
            image: The image.
            inside: Folders that will be mounted in containers; those below a volume are made in its copy.
            labels: By which `reap` finds the copies again.

        Raises:
            StartRefused: no container of this image can be made.
            InfrastructureError: the engine failed.
        """

    def kill(self, name: str) -> None:
        """Kill the container of this name, from whatever process; no error if it is gone."""

    def reap(self, label: str, value: str) -> int:
        """Remove every container and copied volume with the label; return how many containers."""

    def ping(self) -> bool:
        """Whether the engine answers."""

    def close(self) -> None:
        """Close the connection."""


class StartRefused(Exception):
    """The engine refuses this image or command; the message is the engine's, on one line."""
