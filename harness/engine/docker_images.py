"""The images of Docker, and of Podman through its compatible socket."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from docker.errors import APIError, DockerException
from docker.utils import parse_repository_tag

from harness.engine.answers import ENGINE_GONE, engine_answers, full_disk, is_full_disk, said
from harness.engine.images import BuildRequest, EngineHost, EngineImage, EngineRefused, ListedImage
from harness.errors import InfrastructureError

_CONTAINERD = "io.containerd.snapshotter"
_CPU_PERIOD_US = 100_000


class DockerImages:
    """The images of Docker, and of Podman through its compatible socket.

    Args:
        client: A `docker.DockerClient`. It is used by one thread at a time.
    """

    def __init__(self, client: Any) -> None:
        self._api = client.api

    @cached_property
    def platform(self) -> str:
        """See `ImageClient.platform`."""
        with engine_answers("asking for its platform"):
            version = self._api.version()
        return f"{version.get('Os', 'linux')}/{version.get('Arch', 'amd64')}"

    @property
    def folder(self) -> Path | None:
        """See `ImageClient.folder`."""
        folder = Path(str(self._info.get("DockerRootDir") or ""))
        return folder if folder.is_absolute() and folder.is_dir() else None

    @property
    def host(self) -> EngineHost:
        """See `ImageClient.host`."""
        return EngineHost(int(self._info.get("NCPU") or 1), int(self._info.get("MemTotal") or 0))

    def inspect(self, reference: str) -> EngineImage | None:
        """See `ImageClient.inspect`."""
        try:
            with engine_answers("looking up an image"):
                found = self._api.inspect_image(reference)
        except APIError as error:
            if error.status_code in (400, 404):  # 400: not even the form of a name
                return None
            raise InfrastructureError("the engine cannot look up an image", where=said(error)) from error
        return described(found, named_by_config=not self._has_containerd_store)

    def list(self) -> tuple[ListedImage, ...]:
        """See `ImageClient.list`."""
        with _refusals("listing images"):
            images = self._api.images()
        return tuple(ListedImage(_sha256(each["Id"]), tuple(each.get("RepoTags") or ())) for each in images)

    def load(self, archive: Iterable[bytes]) -> None:
        """See `ImageClient.load`."""
        with _refusals("loading an image"), self._patient():
            _follow(self._api.load_image(archive))

    def save(self, reference: str) -> Iterator[bytes]:
        """See `ImageClient.save`."""
        with _refusals("saving an image"), self._patient():
            yield from self._api.get_image(reference)

    def tag(self, reference: str, tag: str) -> None:
        """See `ImageClient.tag`."""
        repository, _, version = tag.rpartition(":")
        with _refusals("naming an image"):
            self._api.tag(reference, repository, version)

    def build(self, request: BuildRequest) -> Iterator[Mapping[str, Any]]:
        """See `ImageClient.build`. An engine ends a build whose connection is closed."""
        limits = request.limits
        proxies = self._api._proxy_configs.get_environment() if request.network else {}
        # The SDK's own `build` knows no CPU quota, and does not give the connection back to be closed.
        parameters = {
            "t": request.tag,
            "rm": True,
            "forcerm": True,
            "buildargs": json.dumps(proxies | dict(request.arguments)),
            "labels": json.dumps(dict(request.labels)),
            "memory": limits.memory_bytes,
            "memswap": limits.memory_bytes,
            "cpuperiod": _CPU_PERIOD_US,
            "cpuquota": max(1000, round(limits.cpus * _CPU_PERIOD_US)),
        }
        if not request.network:
            parameters["networkmode"] = "none"
        with _Deadline(limits.time_s) as deadline, _refusals(f"building {request.tag}"):
            response = self._api._post(
                self._api._url("/build"),
                data=request.context,
                params=parameters,
                headers={"Content-Type": "application/tar"},
                stream=True,
                timeout=None,
            )
            deadline.ends(response)
            try:
                self._api._raise_for_status(response)
                yield from self._api._stream_helper(response, decode=True)
            finally:
                response.close()

    def pull(self, reference: str) -> None:
        """See `ImageClient.pull`."""
        repository, version = parse_repository_tag(reference)
        with _refusals(f"pulling {reference}"), self._patient():
            _follow(self._api.pull(repository, tag=version or "latest", stream=True, decode=True))

    def is_offered(self, reference: str, *, within_s: float) -> bool:
        """See `ImageClient.is_offered`. The engine asks, which knows its mirrors and proxies."""
        answer: list[bool] = []

        def ask() -> None:
            try:
                self._api.inspect_distribution(reference)
            except (DockerException, *ENGINE_GONE):
                answer.append(False)
            else:
                answer.append(True)

        asking = threading.Thread(target=ask, daemon=True, name="registry-question")
        asking.start()
        asking.join(within_s)  # a question that hangs is left behind
        return answer == [True]

    def import_root(self, archive: Path, tag: str, labels: Mapping[str, str]) -> None:
        """See `ImageClient.import_root`."""
        repository, _, version = tag.rpartition(":")
        changes = [f'LABEL {name}="{value}"' for name, value in labels.items()]
        with _refusals(f"importing {tag}"), self._patient():
            self._api.import_image(src=str(archive), repository=repository, tag=version, changes=changes)

    def remove(self, reference: str, *, keep_parents: bool = False) -> None:
        """See `ImageClient.remove`."""
        with _refusals("removing an image"):
            self._api.remove_image(reference, noprune=keep_parents)

    @cached_property
    def _info(self) -> Mapping[str, Any]:
        with engine_answers("asking where it keeps images"):
            info: Mapping[str, Any] = self._api.info()
        return info

    @property
    def _has_containerd_store(self) -> bool:
        return _CONTAINERD in json.dumps(self._info.get("DriverStatus") or [])

    @contextmanager
    def _patient(self) -> Iterator[None]:
        """Lift the time limit for calls in which the engine is silent while it moves gigabytes."""
        before, self._api.timeout = self._api.timeout, None
        try:
            yield
        finally:
            self._api.timeout = before


def described(found: Mapping[str, Any], *, named_by_config: bool) -> EngineImage:
    """Read the engine's answer about an image.

    Args:
        found: The answer to `GET /images/NAME/json`.
        named_by_config: Whether the engine's store names images by their config.
    """
    config = found.get("Config") or {}
    identifier = _sha256(found["Id"])
    # An answer with a descriptor comes from a store that names images by their manifest.
    by_config = named_by_config and not found.get("Descriptor")
    check = tuple((config.get("Healthcheck") or {}).get("Test") or ())
    return EngineImage(
        id=identifier,
        config_digest=identifier if by_config else "",
        tags=tuple(found.get("RepoTags") or ()),
        size_bytes=int(found.get("Size") or 0),
        platform=f"{found.get('Os', '')}/{found.get('Architecture', '')}",
        user=str(config.get("User") or ""),
        working_folder=str(config.get("WorkingDir") or ""),
        entrypoint=tuple(config.get("Entrypoint") or ()),
        command=tuple(config.get("Cmd") or ()),
        environment=tuple(config.get("Env") or ()),
        volumes=tuple(sorted(config.get("Volumes") or ())),
        labels=dict(config.get("Labels") or {}),
        health_check=check if check not in (("NONE",), ("",)) else (),
        on_build=tuple(config.get("OnBuild") or ()),
        diff_ids=tuple((found.get("RootFS") or {}).get("Layers") or ()),
    )


@contextmanager
def _refusals(doing: str) -> Iterator[None]:
    """Turn the engine's own no into EngineRefused, and what is its trouble into InfrastructureError."""
    try:
        with engine_answers(doing):
            yield
    except APIError as error:
        text = said(error)
        if is_full_disk(text):
            raise full_disk(doing) from error
        raise EngineRefused(text) from error


class _Deadline:
    """Close a response when its time is over, whether or not anything comes out of it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._over = threading.Event()
        self._timer: threading.Timer | None = None

    def ends(self, response: Any) -> None:
        """Start counting for this response."""

        def end() -> None:
            self._over.set()
            _shut(response)

        self._timer = threading.Timer(self._seconds, end)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> _Deadline:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._over.is_set():
            raise TimeoutError(f"{self._seconds:.0f} s") from error


def _shut(response: Any) -> None:
    """Shut the socket below a response: closing alone does not wake a thread that reads from it."""
    connection = getattr(getattr(response, "raw", None), "_connection", None)
    held = getattr(connection, "sock", None)
    if held is not None:
        try:
            held.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it ended by itself


def _follow(events: Iterable[Mapping[str, Any]]) -> None:
    for event in events:
        if error := event.get("error"):
            if is_full_disk(str(error)):
                raise full_disk("receiving an image")
            raise EngineRefused(" ".join(str(error).split()))


def _sha256(identifier: object) -> str:
    text = str(identifier)
    return text if text.startswith("sha256:") else f"sha256:{text}"
