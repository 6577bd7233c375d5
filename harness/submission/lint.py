"""Look an image over before a case is run: what would fail, and what an organiser will ask about."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from docker.errors import APIError, NotFound

from harness.errors import ConfigurationError
from harness.submission.image import engine_answers, inspect, patient
from harness.submission.tarstream import (
    BLOCK,
    Decompressed,
    Readable,
    RefusedArchiveError,
    TarStream,
    safe_name,
)

LARGE_BYTES = 10 * 1024**3
"""Images of this size take minutes to hand in and to load."""

DEFAULT_COMMAND = ("/bin/bash", "-c", "sh predict.sh")

_VOLUME_FILE = re.compile(r"\.(nii|nii\.gz|mha|mhd|nrrd|npz)$", re.IGNORECASE)
_LABEL_PATH = re.compile(
    r"(^|/)[^/]*(labels?|ground.?truth|annotations?|masks?|(?<![a-z])gt(?![a-z]))[^/]*(/|\.(nii|mha|mhd|nrrd|npz))",
    re.IGNORECASE,
)
_LIBRARY_PATH = re.compile(r"(^|/)(site|dist)-packages/|^(usr|proc|sys)/")
_MOST_NAMED = 3


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
class ImageContents:
    """What the rules look at, as the engine told it.

    Attributes:
        modes: Permission bits of the files that the contract needs, by their path in the image; None
            for one that is missing.
        volumes: Medical volumes in any layer, also those that a later layer deletes.
    """

    platform: str
    engine_platform: str
    size_bytes: int
    user: str
    working_folder: str
    entrypoint: tuple[str, ...]
    environment: Mapping[str, str]
    declared_volumes: tuple[str, ...]
    modes: Mapping[str, int | None]
    volumes: tuple[str, ...] = ()


def lint(
    client: Any,
    reference: str,
    *,
    command: tuple[str, ...] | None = DEFAULT_COMMAND,
    requires_root: bool = False,
) -> tuple[Finding, ...]:
    """Return what is wrong or remarkable about an image; nothing of it is run.

    Args:
        client: A `docker.DockerClient`.
        reference: The image's id or tag.
        command: The challenge's argv (`Contract.command`); None runs the image's own entrypoint.
        requires_root: Whether the submission opted out of an ordinary user.

    Raises:
        ConfigurationError: there is no such image.
        InfrastructureError: the engine failed.
    """
    return findings(look_into(client, reference, command), command=command, requires_root=requires_root)


def findings(
    image: ImageContents, *, command: tuple[str, ...] | None = DEFAULT_COMMAND, requires_root: bool = False
) -> tuple[Finding, ...]:
    """Apply every rule: a pure function of what was found."""
    return tuple(_rules(image, command, requires_root))


def look_into(client: Any, reference: str, command: tuple[str, ...] | None) -> ImageContents:
    """Collect what the rules need: the image's configuration, a few files' modes, the names in its layers."""
    found = inspect(client, reference)
    if found is None:
        raise ConfigurationError(
            "there is no such image on this host", where=reference, mend="Build or load it first."
        )
    config = found.get("Config") or {}
    with engine_answers("asking for its platform"):
        version = client.api.version()
    folder = config.get("WorkingDir") or "/"
    return ImageContents(
        platform=f"{found.get('Os', '')}/{found.get('Architecture', '')}",
        engine_platform=f"{version.get('Os', '')}/{version.get('Arch', '')}",
        size_bytes=int(found.get("Size") or 0),
        user=config.get("User") or "",
        working_folder=folder,
        entrypoint=tuple(config.get("Entrypoint") or ()),
        environment=dict(entry.partition("=")[::2] for entry in config.get("Env") or ()),
        declared_volumes=tuple(sorted(config.get("Volumes") or ())),
        modes=_modes(client, found["Id"], _needed_files(command, folder)),
        volumes=tuple(_medical_volumes(client, found["Id"])),
    )


def _rules(  # noqa: C901 - one rule after the other
    image: ImageContents, command: tuple[str, ...] | None, requires_root: bool
) -> Iterator[Finding]:
    if image.platform != image.engine_platform:
        yield Finding(
            "error",
            "platform",
            f"the image is for {image.platform}, this engine runs {image.engine_platform}",
            f"Build it with --platform {image.engine_platform}.",
        )
    for path, mode in image.modes.items():
        if mode is None:
            mend = (
                f"COPY it to {image.working_folder}, the image's WORKDIR."
                if path.endswith(".sh")
                else "Install it."
            )
            yield Finding("error", "missing", f"the image has no {path}", mend)
        elif not mode & 0o004 and not requires_root:
            mend = f"RUN chmod a+r {path}, or set requires_root = true."
            yield Finding(
                "error", "unreadable", f"{path} cannot be read by an ordinary user (mode {mode:o})", mend
            )
    if command is not None and image.entrypoint:
        yield Finding(
            "warning",
            "entrypoint",
            f"the image has an entrypoint, {' '.join(image.entrypoint)}, which gets the command",
            'Remove it, or end it with exec "$@".',
        )
    if image.user.partition(":")[0] in ("", "0", "root") and not requires_root:
        yield Finding(
            "warning",
            "user",
            "the image's user is root; it will be run as an ordinary user",
            "Set USER 65532 to see the same at home; if it truly needs root, set requires_root = true.",
        )
    for name in sorted(image.environment):
        if name.startswith("LD_"):
            level: Literal["error", "warning"] = "error" if name in ("LD_PRELOAD", "LD_AUDIT") else "warning"
            message = (
                f"the image sets {name}={image.environment[name]}, which changes what every program loads"
            )
            yield Finding(level, "loader", message, f"Remove ENV {name}.")
    if image.declared_volumes:
        yield Finding(
            "error",
            "volume",
            f"the image declares VOLUME {' '.join(image.declared_volumes)}, writable without limit",
            "Remove the VOLUME lines; scratch space is /tmp.",
        )
    yield from _about_volumes(image.volumes)
    if image.size_bytes > LARGE_BYTES:
        yield Finding(
            "warning",
            "size",
            f"the image has {image.size_bytes / 1024**3:.1f} GiB",
            "Leave package caches, training code and development files out.",
        )


def _about_volumes(volumes: tuple[str, ...]) -> Iterator[Finding]:
    labels = [path for path in volumes if _LABEL_PATH.search(path)]
    others = [path for path in volumes if path not in labels]
    if labels:
        yield Finding(
            "error",
            "labels",
            f"layers of the image hold {len(labels)} file(s) that look like labels: {_some(labels)}",
            "Leave data sets out of the build context; a later layer that deletes them keeps them.",
        )
    if others:
        yield Finding(
            "warning",
            "images",
            f"layers of the image hold {len(others)} medical volume(s): {_some(others)}",
            "Leave data sets out of the build context.",
        )


def _needed_files(command: tuple[str, ...] | None, working_folder: str) -> list[str]:
    if command is None:
        return []
    scripts = [word for word in " ".join(command[1:]).split() if word.endswith(".sh")]
    programs = [command[0]] if command[0].startswith("/") else []
    return programs + [str(PurePosixPath(working_folder) / script) for script in scripts]


def _modes(client: Any, image: str, paths: list[str]) -> dict[str, int | None]:
    """Ask a container that is made and never started: the engine follows links as in a run."""
    modes: dict[str, int | None] = {}
    with engine_answers("looking into an image"):
        container = client.api.create_container(image, command=["true"], network_disabled=True)["Id"]
        try:
            for path in paths:
                modes[path] = _mode(client, container, path)
        finally:
            client.api.remove_container(container, force=True, v=True)
    return modes


def _mode(client: Any, container: str, path: str) -> int | None:
    for _ in range(8):  # links to links
        try:
            chunks, about = client.api.get_archive(container, path)
        except (NotFound, APIError):
            return None
        if not about.get("linkTarget"):
            with tarfile.open(fileobj=io.BytesIO(b"".join(chunks)[: 4 * BLOCK]), mode="r|") as archive:
                first = archive.next()
            return first.mode & 0o7777 if first is not None and not first.isdir() else None
        path = str(PurePosixPath(path).parent / about["linkTarget"])
    return None


def _medical_volumes(client: Any, image: str) -> Iterator[str]:
    """Yield the paths of medical volumes in every layer, outside of installed libraries."""
    with engine_answers("reading an image's layers"), patient(client):
        saved = TarStream(_Chunks(client.api.get_image(image)))
        for member in saved:
            if member.kind == "file" and member.size >= BLOCK and not member.name.endswith(".json"):
                yield from _in_layer(saved)


def _in_layer(source: Readable) -> Iterator[str]:
    try:
        for member in TarStream(Decompressed(source, max_bytes=1 << 40), max_members=10_000_000):
            name = safe_name(member.name, rooted=True)
            if member.kind == "file" and _VOLUME_FILE.search(name) and not _LIBRARY_PATH.search(name):
                yield name
    except RefusedArchiveError:
        return  # a config or an index among the blobs, not a layer


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
    return f"{', '.join(paths[:_MOST_NAMED])}{more}"


class _Chunks:
    """An iterator of byte strings as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""

    def read(self, size: int, /) -> bytes:
        if not self._rest:
            self._rest = next(self._chunks, b"")
        data, self._rest = self._rest[:size], self._rest[size:]
        return data
