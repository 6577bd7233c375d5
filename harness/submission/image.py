"""What the rest of the harness gets to know of an image, and the labels that our own images carry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import requests
from docker.errors import APIError, DockerException

from harness.errors import InfrastructureError

CONTENT_LABEL = "io.flareharness.content"
"""SHA-256 over all that an image was made from; equal means there is nothing to build."""

Progress = Callable[[str], None]
"""Called with one line of what is going on."""


def silent(_line: str) -> None:
    """Report nothing: the default progress."""


@dataclass(frozen=True)
class BuiltImage:
    """An image that the engine holds, pinned.

    Attributes:
        reference: A tag under which the engine finds it.
        digest: The engine's content-addressed id, `sha256:...`; what is run.
        user: The image's user as its author set it; empty means root.
        platform: `linux/amd64`.
    """

    reference: str
    digest: str
    size_bytes: int
    user: str
    platform: str


def describe(client: Any, reference: str) -> BuiltImage | None:
    """Return the image that the engine has under a tag or id now, or None."""
    found = inspect(client, reference)
    if found is None:
        return None
    identifier = str(found["Id"])
    return BuiltImage(
        reference=reference,
        digest=identifier if identifier.startswith("sha256:") else f"sha256:{identifier}",
        size_bytes=int(found.get("Size") or 0),
        user=str((found.get("Config") or {}).get("User") or ""),
        platform=f"{found.get('Os', '')}/{found.get('Architecture', '')}",
    )


def content_of(client: Any, reference: str) -> str | None:
    """Return the content label of the image under a tag, or None where there is no such image or label."""
    found = inspect(client, reference)
    labels = ((found or {}).get("Config") or {}).get("Labels") or {}
    return labels.get(CONTENT_LABEL)


def inspect(client: Any, reference: str) -> dict[str, Any] | None:
    """Return what the engine says of an image, or None where it has none of that name."""
    try:
        with engine_answers("looking up an image"):
            answer: dict[str, Any] = client.api.inspect_image(reference)
            return answer
    except APIError as error:
        if error.status_code in (400, 404):  # 400: not even the form of a name
            return None
        raise InfrastructureError(
            "the engine cannot look up an image", where=str(error.explanation)
        ) from error


@contextmanager
def engine_answers(doing: str) -> Iterator[None]:
    """Turn a lost connection to the engine into one InfrastructureError; the engine's own answers pass."""
    try:
        yield
    except DockerException:
        raise
    except (requests.exceptions.RequestException, OSError) as error:
        raise InfrastructureError(
            f"the container engine went away while {doing}",
            where=" ".join(str(error).split())[:200],
            mend="Start it, and run the same command again.",
        ) from error


@contextmanager
def patient(client: Any) -> Iterator[None]:
    """Lift the client's time limit for calls in which the engine is silent while it moves gigabytes."""
    before = client.api.timeout
    client.api.timeout = None
    try:
        yield
    finally:
        client.api.timeout = before
