"""The Docker Engine API: Docker, and Podman through its compatible socket."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal

from docker.client import DockerClient
from docker.errors import APIError, DockerException, ImageNotFound

from harness.engine.address import addresses
from harness.engine.answers import ENGINE_GONE, engine_answers, reason, refusal
from harness.engine.base import ContainerSpec, Declared, EngineFacts, ImageInfo
from harness.engine.config import create_request
from harness.engine.docker_container import DockerContainer, remove_container
from harness.engine.docker_images import DockerImages
from harness.engine.identity import identify
from harness.engine.logs import LogKeeper
from harness.engine.volumes import copy_declared
from harness.errors import ConfigurationError, InfrastructureError, PrerequisiteError

_CALL_TIMEOUT_S = 60


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
        except (DockerException, *ENGINE_GONE) as error:
            tried.append(f"{candidate}: {reason(error)}")
            if client is not None:
                client.close()
    raise PrerequisiteError(
        "no container engine answers",
        where="; ".join(tried),
        mend="Install and start Docker or Podman, be in the group `docker` (or root), "
        "or set DOCKER_HOST to the engine's socket.",
    )


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
        with engine_answers("asking the engine what it is"):
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
        with engine_answers("importing an image"):
            answer = self._api.import_image_from_data(
                archive, changes=["WORKDIR /workspace", 'CMD ["/bin/sh"]']
            )
            # Podman's answer to this call ignores the tag, so it is given afterwards.
            identifier = json.loads(answer.strip().splitlines()[-1])["status"]
            self._api.tag(identifier, repository, version)

    def create(self, spec: ContainerSpec) -> DockerContainer:
        """See `ContainerEngine.create`."""
        try:
            with engine_answers("creating a container"):
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
            raise refusal(error, "creating a container") from error
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
            with engine_answers("copying an image's volumes"):
                return copy_declared(self._api, image, inside=inside, labels=labels)
        except APIError as error:
            raise refusal(error, "copying an image's volumes") from error

    def kill(self, name: str) -> None:
        """See `ContainerEngine.kill`."""
        with contextlib.suppress(APIError), engine_answers("killing a container"):
            self._api.kill(name, "SIGKILL")

    def reap(self, label: str, value: str) -> int:
        """See `ContainerEngine.reap`."""
        wanted = {"label": [f"{label}={value}"]}
        with engine_answers("looking for containers that were left behind"):
            found = self._api.containers(all=True, filters=wanted)
        for container in found:
            remove_container(self._api, container["Id"])
        with engine_answers("looking for volumes that were left behind"):
            for volume in self._api.volumes(filters=wanted).get("Volumes") or ():
                with contextlib.suppress(APIError):  # gone already
                    self._api.remove_volume(volume["Name"], force=True)
        return len(found)

    def ping(self) -> bool:
        """See `ContainerEngine.ping`."""
        try:
            return bool(self._api.ping())
        except (DockerException, *ENGINE_GONE):
            return False

    def close(self) -> None:
        """Close the connection."""
        self.client.close()
