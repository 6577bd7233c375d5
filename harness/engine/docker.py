"""The Docker Engine API: Docker, and Podman through its compatible socket."""

from __future__ import annotations

import json
import os
import socket
import struct
import threading
import time
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import requests
from docker.client import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from harness.engine.address import addresses
from harness.engine.base import ContainerSpec, EngineFacts, ExitState, ImageInfo, StartRefused
from harness.engine.config import create_request
from harness.engine.identity import identify
from harness.engine.images import DockerImages
from harness.engine.logs import LogKeeper
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
        "container-init binary not found",
        "the container engine lacks an init for its containers",
        "Install the package `catatonit` (Podman) or `docker-init`.",
    ),
)
"""What an engine says when the host lacks something: text, what it means, the mend."""


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
            return DockerEngine(client)
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

    def __init__(self, client: Any) -> None:
        self.client = client
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
        cgroup_version: Literal[1, 2] | None = {"1": 1, "2": 2}.get(str(info.get("CgroupVersion", "")))  # type: ignore[assignment]
        return EngineFacts(
            name="podman" if podman else "docker",
            version=str(version.get("Version", "")),
            isolated=True,
            cgroup_version=cgroup_version,
            cgroup_driver=str(info.get("CgroupDriver", "")),
            cores=int(info.get("NCPU") or os.cpu_count() or 1),
            warnings=tuple(info.get("Warnings") or ()),
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
        )

    def import_image(self, archive: bytes, tag: str) -> None:
        """Make an image of one layer from a tar archive of its root file system."""
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
                declared = (self._api.inspect_image(spec.image).get("Config") or {}).get("Volumes") or {}
                request = create_request(
                    spec, cores=self.facts.cores, podman=self.facts.name == "podman", volumes=declared
                )
                identifier = self._api.create_container_from_config(request, spec.name)["Id"]
        except ImageNotFound as error:
            raise InfrastructureError("the image went away during the run", where=spec.image) from error
        except APIError as error:
            raise _refusal(error, "creating a container") from error
        return DockerContainer(
            self._api, identifier, LogKeeper(spec.log_bytes), writable_root=spec.writable_root
        )

    def reap(self, label: str, value: str) -> int:
        """See `ContainerEngine.reap`."""
        with _engine_errors("looking for containers that were left behind"):
            found = self._api.containers(all=True, filters={"label": [f"{label}={value}"]})
        for container in found:
            _remove(self._api, container["Id"])
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
        self._wait_error: Exception | None = None
        self._stream: Any = None
        self._threads: list[threading.Thread] = []
        self.id = identifier

    root_pid: int | None = None

    def owns(self, pid: int) -> bool:
        """See `Container.owns`: the engine names a container's cgroup after its id."""
        try:
            return self.id in Path(f"/proc/{pid}/cgroup").read_text()
        except OSError:
            return False

    def start(self) -> None:
        """See `Container.start`. The streams are attached first, so that no line is lost."""
        try:
            with _engine_errors("starting a container"):
                self._stream = self._api.attach_socket(self.id, {"stdout": 1, "stderr": 1, "stream": 1})
                self._run_beside(self._read_stream)
                self._api.start(self.id)
        except APIError as error:
            raise _refusal(error, "starting a container") from error
        self._run_beside(self._await_end)

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
        """See `Container.kill`."""
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
        except APIError:
            return {}  # it ended meanwhile

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
        _remove(self._api, self.id)
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
