"""Where a container engine is asked: what the `docker` program itself would ask, in the same order.

An address given, DOCKER_HOST, DOCKER_CONTEXT, the context that `docker context use` chose, and then the usual
sockets of Docker and Podman.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from docker.context import Context
from docker.errors import ContextException
from docker.tls import TLSConfig
from docker.utils.config import find_config_file

from harness.errors import PrerequisiteError


@dataclass(frozen=True)
class Address:
    """One place to ask.

    Attributes:
        url: Such as `unix:///var/run/docker.sock`.
        chosen_by: What named it, for a message; empty for a usual socket.
        tls: Certificates that a context brings along.
    """

    url: str
    chosen_by: str = ""
    tls: TLSConfig | None = None

    def __str__(self) -> str:
        return f"{self.url} (from {self.chosen_by})" if self.chosen_by else self.url


def addresses(chosen: str | None = None) -> list[Address]:
    """Return the places to ask, in order; only the first where a person chose one.

    Raises:
        PrerequisiteError: a context is chosen that does not exist.
    """
    if chosen:
        return [Address(chosen)]
    if host := os.environ.get("DOCKER_HOST"):
        return [Address(host, "DOCKER_HOST")]
    name, chosen_by = _chosen_context()
    return [_of_context(name, chosen_by)] if name not in ("", "default") else list(_usual_sockets())


def _chosen_context() -> tuple[str, str]:
    """Return the context that is chosen and by what; empty texts for none."""
    if name := os.environ.get("DOCKER_CONTEXT"):
        return name, f"DOCKER_CONTEXT={name}"
    path = find_config_file()
    if path is None:
        return "", ""
    try:
        name = json.loads(Path(path).read_text(encoding="utf-8-sig")).get("currentContext") or ""
    except (OSError, ValueError, AttributeError):
        return "", ""  # as the docker program does, which then asks the default
    return str(name), f"docker context {name}"


def _of_context(name: str, chosen_by: str) -> Address:
    try:
        context = Context.load_context(name)
    except (ContextException, OSError, ValueError) as error:
        raise PrerequisiteError(
            f"the docker context {name!r} cannot be read", where=chosen_by, mend=f"{error}."
        ) from error
    endpoint = context.endpoints.get("docker") if context is not None else None
    if endpoint is None:
        raise PrerequisiteError(
            f"there is no docker context {name!r}",
            where=chosen_by,
            mend="Choose another with `docker context use`, or set DOCKER_HOST.",
        )
    return Address(endpoint["Host"], chosen_by, context.TLSConfig)


def _usual_sockets() -> Iterator[Address]:
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}"))
    sockets = [Path("/var/run/docker.sock"), runtime / "docker.sock", runtime / "podman" / "podman.sock"]
    present = [path for path in sockets if path.exists()]
    return (Address(f"unix://{path}") for path in present or sockets[:1])
