"""The Docker Engine API: Docker, and Podman through its compatible socket."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import socket
import stat
import struct
import tarfile
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import requests
from docker.client import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from harness.engine.address import addresses
from harness.engine.base import ContainerSpec, Declared, EngineFacts, ExitState, ImageInfo, StartRefused
from harness.engine.config import create_request
from harness.engine.identity import identify
from harness.engine.images import DockerImages
from harness.engine.logs import LogKeeper
from harness.engine.volumes import copy_declared
from harness.errors import ConfigurationError, InfrastructureError, PrerequisiteError

_CALL_TIMEOUT_S = 60
_ENGINE_GONE = (requests.exceptions.RequestException, OSError)
_IMAGE_FAULTS = (
    'exec: "',
    "exec format error",
    "exec user process",
    "executable file",
    "no command specified",
    "no command or entrypoint",
    "does not match the specified platform",
    "image operating system",
)
_HOST_LACKS = (
    (
        "could not select device driver",
        "the container engine cannot attach a GPU",
        "Install the NVIDIA container toolkit and restart the engine.",
    ),
    (
        "unresolvable cdi devices",
        "the container engine cannot attach a GPU",
        "Install the NVIDIA container toolkit and run `nvidia-ctk cdi generate`.",
    ),
    (
        "unsatisfied condition: cuda",
        "the GPU driver of this host is older than the CUDA that the image asks for",
        "Update the driver, or build the image on an older CUDA.",
    ),
    (
        "nvidia-container-cli",
        "the NVIDIA container toolkit failed",
        "Run `nvidia-smi` and `nvidia-container-cli info` on this host.",
    ),
    (
        "unknown or invalid runtime name",
        "the container engine does not know this OCI runtime",
        "Register it in the engine's configuration (Docker: `runtimes` of daemon.json).",
    ),
    (
        "container-init binary not found",
        "the container engine lacks an init for its containers",
        "Install the package `catatonit` (Podman) or `docker-init`.",
    ),
    (
        "apparmor",
        "the container engine cannot load the AppArmor profile that this kernel asks for",
        "Install the package `apparmor` and restart the engine.",
    ),
    (
        "bind source path does not exist",
        "the container engine does not see this host's folders",
        "Run the harness on the engine's host, outside of other containers. An engine with mounts of its own "
        "sees ours only after `mount --make-rshared /` and a restart.",
    ),
    (
        "cgroup mountpoint does not exist",
        "the container engine finds no cgroups",
        "Mount them at /sys/fs/cgroup (Debian's package `cgroupfs-mount` does) and restart the engine.",
    ),
)
"""What an engine says when the host lacks something: text, what it means, the mend."""


def open_engine(address: str | None = None) -> DockerEngine:
    """See `harness.engine.registry`."""
    return connect(address)


def connect(address: str | None = None) -> DockerEngine:
    """Return the engine at `address`, or the one that `harness.engine.address` finds.

    Raises:
        PrerequisiteError: none answers; the mend says what to start.
    """
    tried: list[str] = []
    for candidate in addresses(address):
        client = None
        try:
            client = DockerClient(
                base_url=candidate.url, version="auto", timeout=_CALL_TIMEOUT_S, tls=candidate.tls or False
            )
            client.ping()
            return DockerEngine(client, candidate.url)
        except (DockerException, *_ENGINE_GONE) as error:
            tried.append(f"{candidate}: {_reason(error)}")
            if client is not None:
                client.close()
    raise PrerequisiteError(
        "no container engine answers",
        where="; ".join(tried),
        mend="Install and start Docker or Podman, be in the group `docker` (or root), "
        "or set DOCKER_HOST to the engine's socket.",
    )


def _reason(error: Exception) -> str:
    text = str(error)
    for known, plain in (
        ("FileNotFoundError", "no such socket"),
        ("PermissionError", "permission denied"),
        ("Connection refused", "nothing listens there"),
    ):
        if known in text:
            return plain
    return " ".join(text.split())[:120]


class DockerEngine:
    """Runs containers through the Docker SDK. Make one with `connect`."""

    registered = "docker"

    def __init__(self, client: Any, address: str) -> None:
        self.client = client
        self.address: str | None = address
        self._api = client.api

    @cached_property
    def images(self) -> DockerImages:
        """The images that it holds."""
        return DockerImages(self.client)

    @cached_property
    def facts(self) -> EngineFacts:
        """What answers, and which limits it says it cannot enforce."""
        with _engine_errors("asking the engine what it is"):
            info, version = self._api.info(), self._api.version()
        components = {part.get("Name", ""): part for part in version.get("Components") or []}
        podman = "Podman Engine" in components
        runtimes, default = info.get("Runtimes") or {}, str(info.get("DefaultRuntime") or "")
        security = " ".join(map(str, info.get("SecurityOptions") or ()))
        rootless = "name=rootless" in security or bool(info.get("Rootless"))  # Docker's way and Podman's
        cgroup_version: Literal[1, 2] | None = {"1": 1, "2": 2}.get(str(info.get("CgroupVersion", "")))  # type: ignore[assignment]
        return EngineFacts(
            name="podman" if podman else "docker",
            version=str(version.get("Version", "")),
            isolated=True,
            cgroup_version=cgroup_version,
            cgroup_driver=str(info.get("CgroupDriver", "")),
            cores=int(info.get("NCPU") or os.cpu_count() or 1),
            warnings=tuple(info.get("Warnings") or ()),
            filters_calls="seccomp" in security,
            maps_users="name=userns" in security or (rootless and not podman),
            rootless=rootless,
            runtimes=(default, *sorted(set(runtimes) - {default})) if default else tuple(sorted(runtimes)),
        )

    def image(self, reference: str) -> ImageInfo:
        """See `ContainerEngine.image`."""
        found = self.images.inspect(reference)
        if found is None:
            raise ConfigurationError(
                "there is no such image on this host",
                where=reference,
                mend="Build or load it first; nothing is pulled.",
            )
        return ImageInfo(
            reference=reference,
            digest=found.id,
            size_bytes=found.size_bytes,
            user=found.user,
            platform=found.platform,
            identity=identify(self.images, found).config_digest,
            environment=found.environment,
            volumes=found.volumes,
            entrypoint=found.entrypoint,
            command=found.command,
            labels=found.labels,
        )

    def import_image(self, archive: bytes, tag: str) -> None:
        """See `ContainerEngine.import_image`."""
        repository, _, version = tag.rpartition(":")
        with _engine_errors("importing an image"):
            answer = self._api.import_image_from_data(
                archive, changes=["WORKDIR /workspace", 'CMD ["/bin/sh"]']
            )
            # Podman's answer to this call ignores the tag, so it is given afterwards.
            identifier = json.loads(answer.strip().splitlines()[-1])["status"]
            self._api.tag(identifier, repository, version)

    def create(self, spec: ContainerSpec) -> DockerContainer:
        """See `ContainerEngine.create`."""
        try:
            with _engine_errors("creating a container"):
                podman = self.facts.name == "podman"
                request = create_request(
                    spec,
                    cores=self.facts.cores,
                    podman=podman,
                    rootless=self.facts.rootless,
                    filters_calls=self.facts.filters_calls,
                )
                identifier = self._api.create_container_from_config(request, spec.name)["Id"]
        except ImageNotFound as error:
            raise InfrastructureError("the image went away during the run", where=spec.image) from error
        except APIError as error:
            raise _refusal(error, "creating a container") from error
        return DockerContainer(
            self._api, identifier, LogKeeper(spec.log_bytes), writable_root=spec.writable_root
        )

    def copy_declared(
        self, image: ImageInfo, *, inside: tuple[str, ...], labels: Mapping[str, str]
    ) -> tuple[Declared, ...]:
        """See `ContainerEngine.copy_declared`."""
        if not image.volumes:
            return ()
        try:
            with _engine_errors("copying an image's volumes"):
                return copy_declared(self._api, image, inside=inside, labels=labels)
        except APIError as error:
            raise _refusal(error, "copying an image's volumes") from error

    def kill(self, name: str) -> None:
        """See `ContainerEngine.kill`."""
        with contextlib.suppress(APIError), _engine_errors("killing a container"):
            self._api.kill(name, "SIGKILL")

    def reap(self, label: str, value: str) -> int:
        """See `ContainerEngine.reap`."""
        wanted = {"label": [f"{label}={value}"]}
        with _engine_errors("looking for containers that were left behind"):
            found = self._api.containers(all=True, filters=wanted)
        for container in found:
            _remove(self._api, container["Id"])
        with _engine_errors("looking for volumes that were left behind"):
            for volume in self._api.volumes(filters=wanted).get("Volumes") or ():
                with contextlib.suppress(APIError):  # gone already
                    self._api.remove_volume(volume["Name"], force=True)
        return len(found)

    def ping(self) -> bool:
        """See `ContainerEngine.ping`."""
        try:
            return bool(self._api.ping())
        except (DockerException, *_ENGINE_GONE):
            return False

    def close(self) -> None:
        """Close the connection."""
        self.client.close()


class DockerContainer:
    """See `Container`."""

    def __init__(self, api: Any, identifier: str, log: LogKeeper, *, writable_root: bool) -> None:
        self._api = api
        self._log = log
        self._writable_root = writable_root
        self._gone = threading.Event()
        self._gone_time: float | None = None
        self._started: float | None = None
        self._wait_error: Exception | None = None
        self._stream: Any = None
        self._threads: list[threading.Thread] = []
        self.id = identifier

    root_pid: int | None = None
    _pid = 0

    def mode_of(self, path: str) -> int | None:
        """See `Container.mode_of`."""
        try:
            with _engine_errors("looking into a container"):
                stream, found = self._api.get_archive(self.id, path)
        except APIError:
            return None
        stream.close()
        return _unix_mode(int(found["mode"]))

    def content_of(self, path: str, *, most_bytes: int) -> bytes | None:
        """See `Container.content_of`."""
        try:
            with _engine_errors("looking into a container"):
                stream, found = self._api.get_archive(self.id, path)
                # A file larger than is asked for, or a folder of gigabytes, is not fetched.
                plain = stat.S_ISREG(_unix_mode(int(found["mode"]))) and int(found["size"]) <= most_bytes
                packed = b"".join(stream) if plain else b""
                stream.close()
        except APIError:
            return None
        if not plain:
            return None
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            file = archive.extractfile(archive.getmembers()[0])
            return file.read() if file is not None else None

    def owns(self, pid: int) -> bool:
        """See `Container.owns`: the engine names a container's cgroup after its id."""
        try:
            return self.id in Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8")
        except OSError:
            return False

    def start(self) -> None:
        """See `Container.start`. The streams are attached first, so that no line is lost."""
        try:
            with _engine_errors("starting a container"):
                self._stream = self._api.attach_socket(self.id, {"stdout": 1, "stderr": 1, "stream": 1})
                self._run_beside(self._read_stream)
                asked = time.monotonic()
                self._api.start(self.id)
                self._started = time.monotonic()
        except APIError as error:
            raise _refusal(error, "starting a container") from error
        self._run_beside(self._await_end)
        self._started = self._since(asked, self._started)

    def _since(self, asked: float, answered: float) -> float:
        """Return the earlier of the engine's answer to `start` and its own word on when that was done."""
        try:
            with _engine_errors("inspecting a container"):
                state = self._api.inspect_container(self.id)["State"]
        except (APIError, InfrastructureError):
            return answered  # whoever waits for the container meets the same failure
        self._pid = int(state.get("Pid") or 0)
        told = _seconds(str(state.get("StartedAt") or ""))
        if told is None:
            return answered
        # The engine tells wall clock time, which may jump: its word counts within our own two times only.
        return min(answered, max(asked, told - time.time() + time.monotonic()))

    def started_at(self) -> float:
        """See `Container.started_at`."""
        assert self._started is not None, "it was started"
        return self._started

    def wait(self, timeout_s: float) -> bool:
        """See `Container.wait`."""
        gone = self._gone.wait(timeout_s)
        if gone and self._wait_error is not None:
            raise InfrastructureError(
                "the container engine went away while a case ran",
                where=_reason(self._wait_error),
                mend="Start it and run the same command again: finished cases are kept.",
            ) from self._wait_error
        return gone

    def gone_at(self) -> float | None:
        """See `Container.gone_at`."""
        return self._gone_time

    def kill(self) -> None:
        """See `Container.kill`. Its init first, where we may: an engine in distress takes its time."""
        if self._pid and self.owns(self._pid):
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
        try:
            with _engine_errors("killing a container"):
                self._api.kill(self.id, "SIGKILL")
        except APIError:
            return  # not running: it ended between our look and the kill

    def state(self) -> ExitState:
        """See `Container.state`."""
        self._join_stream()
        with _engine_errors("inspecting a container"):
            state = self._api.inspect_container(self.id)["State"]
        return ExitState(
            exit_code=state.get("ExitCode"),
            oom_killed=bool(state.get("OOMKilled")),
            error=" ".join(str(state.get("Error") or "").split()),
        )

    def statistics(self) -> dict[str, Any]:
        """See `Container.statistics`."""
        try:
            with _engine_errors("asking for a container's statistics"):
                return dict(self._api.stats(self.id, stream=False, one_shot=True))
        except (APIError, InfrastructureError):
            return {}  # it ended meanwhile, or this engine has none; one that is gone shows by itself

    def written_bytes(self) -> int:
        """See `Container.written_bytes`. Costs the engine a walk over what was written."""
        if not self._writable_root:
            return 0
        with _engine_errors("asking for a container's size"):
            found = self._api.containers(all=True, size=True, filters={"id": self.id})
        return int(found[0].get("SizeRw") or 0) if found else 0

    def log(self) -> LogKeeper:
        """See `Container.log`."""
        return self._log

    def remove(self) -> None:
        """See `Container.remove`."""
        try:
            _remove(self._api, self.id)
        finally:
            self._join_stream()

    def _run_beside(self, work: Any) -> None:
        thread = threading.Thread(target=work, daemon=True, name=f"{work.__name__}-{self.id[:12]}")
        thread.start()
        self._threads.append(thread)

    def _await_end(self) -> None:
        try:
            self._api.wait(self.id, timeout=None)
        except Exception as error:  # handed to whoever waits
            self._wait_error = error
        self._gone_time = time.monotonic()
        self._gone.set()

    def _read_stream(self) -> None:
        """Copy the multiplexed stream: frames of `stream, 0, 0, 0, length (big endian)` and payload."""
        descriptor = self._stream.fileno()
        os.set_blocking(descriptor, True)  # whatever time-out the SDK gave its socket
        header = b""
        left = 0
        while True:
            try:
                data = os.read(descriptor, 1 << 16)
            except OSError:
                return
            if not data:
                return
            while data:
                if left:
                    self._log.write(data[:left])
                    data, left = data[left:], max(0, left - len(data))
                    continue
                header, data = (header + data)[:8], data[8 - len(header) :]
                if len(header) == 8:
                    left = struct.unpack(">BxxxL", header)[1]
                    header = b""

    def _join_stream(self, timeout_s: float = 2.0) -> None:
        if self._stream is None:
            return
        reader = self._threads[0]
        reader.join(timeout_s)
        if reader.is_alive():
            duplicate = socket.socket(fileno=os.dup(self._stream.fileno()))
            duplicate.shutdown(socket.SHUT_RDWR)
            duplicate.close()
            reader.join(timeout_s)
        self._stream._response.close()  # the SDK hangs it on the stream; it holds the connection
        self._stream.close()
        self._stream = None


def _remove(api: Any, identifier: str) -> None:
    try:
        with _engine_errors("removing a container"):
            api.remove_container(identifier, force=True, v=True)
    except NotFound:
        return
    except APIError as error:
        if error.status_code != 409:  # 409: another removal of it is under way
            raise _refusal(error, "removing a container") from error


def _refusal(error: APIError, doing: str) -> Exception:
    text = " ".join(str(error.explanation or error).split())
    for sign, what, mend in _HOST_LACKS:
        if sign in text.lower():
            return PrerequisiteError(what, where=text, mend=mend)
    if any(fault in text.lower() for fault in _IMAGE_FAULTS):
        return StartRefused(text)
    return InfrastructureError(f"the container engine failed while {doing}", where=text)


def _seconds(timestamp: str) -> float | None:
    """Return the seconds since 1970 of a time as engines write it, with up to nine digits of a second."""
    whole = re.sub(r"(\.\d{6})\d*", r"\1", timestamp)
    try:
        moment = datetime.fromisoformat(whole)
    except ValueError:
        return None
    return moment.timestamp() if moment.year > 1970 else None


def _unix_mode(mode: int) -> int:
    """Return a Go file mode as the kernel's st_mode, as far as kind and permissions go."""
    kinds = ((1 << 31, stat.S_IFDIR), (1 << 27, stat.S_IFLNK), (1 << 26, stat.S_IFBLK))
    return next((kind for bit, kind in kinds if mode & bit), stat.S_IFREG) | mode & 0o777


class _engine_errors:
    """Turn a lost connection into InfrastructureError; the engine's own answers pass."""

    def __init__(self, doing: str) -> None:
        self.doing = doing

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _ENGINE_GONE) and not isinstance(error, APIError):
            raise InfrastructureError(
                f"the container engine went away while {self.doing}",
                where=_reason(error),
                mend="Start it and run the same command again: finished cases are kept.",
            ) from error
