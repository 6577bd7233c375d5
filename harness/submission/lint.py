"""Look an image over before a case is run: what would fail, and what an organiser will ask about."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from harness.engine.images import EngineRefused, ImageClient
from harness.errors import ConfigurationError, InfrastructureError
from harness.submission.archive import ArchivedImage, read_image
from harness.submission.blobs import Blobs, TarBlobs
from harness.submission.contents import ImageTree
from harness.submission.findings import Finding, ImageContents, Judge
from harness.submission.layers import ArchiveLimits, check_layers
from harness.submission.rules import RULES
from harness.submission.sources import opened, spool
from harness.submission.tarstream import Member

_VOLUME_FILE = re.compile(r"\.(nii|nii\.gz|mha|mhd|nrrd|npz)$", re.IGNORECASE)
_LIBRARY_PATH = re.compile(r"(^|/)(site|dist)-packages/|^(usr|proc|sys)/")
_MOST_VOLUMES = 10_000


def lint(images: ImageClient, reference: str, judge: Judge | None = None) -> tuple[Finding, ...]:
    """Return what is wrong or remarkable about an image of the engine; nothing of it is run.

    Raises:
        ConfigurationError: there is no such image.
        InfrastructureError: the engine failed, or the disk is too full to read what it saves.
    """
    judge = judge or Judge(platform=images.platform)
    found = images.inspect(reference)
    if found is None:
        raise ConfigurationError(
            "there is no such image on this host", where=reference, mend="Build or load it first."
        )
    try:
        with spool(images.save(found.id)) as saved:
            blobs = TarBlobs(saved, where=reference)
            image = read_image(blobs, platform=found.platform)
            return findings(look_into(blobs, image, size_bytes=found.size_bytes), judge)
    except EngineRefused as error:
        raise InfrastructureError("the engine cannot save the image", where=str(error)) from error


def lint_archive(
    source: Path,
    judge: Judge | None = None,
    *,
    limits: ArchiveLimits | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Finding, ...]:
    """Return what is wrong or remarkable about the image of an archive, without any engine.

    Args:
        source: A `docker save` archive or an OCI layout, a file or a folder.
        judge: How it will be run.
        limits: What an archive may hold.
        progress: Called with the layers read, and how many there are.

    Raises:
        RefusedArchiveError: it is no archive of an image, or one that the intake would refuse.
        InfrastructureError: the disk is too full to decompress it.
    """
    judge = judge or Judge()
    with opened(source, (limits or ArchiveLimits()).unpacked_bytes) as blobs:
        image = read_image(blobs, platform=judge.platform)
        return findings(look_into(blobs, image, limits=limits, progress=progress), judge)


def findings(image: ImageContents, judge: Judge | None = None) -> tuple[Finding, ...]:
    """Apply every rule: a pure function of what was found."""
    judge = judge or Judge()
    return tuple(finding for rule in RULES for finding in rule(image, judge))


def look_into(
    blobs: Blobs,
    image: ArchivedImage,
    *,
    size_bytes: int | None = None,
    limits: ArchiveLimits | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ImageContents:
    """Collect what the rules need: the image's configuration, and what its layers hold.

    Args:
        blobs: The archive's files.
        image: The image.
        size_bytes: Its size, where an engine says it; otherwise what its layers unpack to.
        limits: What an archive may hold.
        progress: Called with the layers read, and how many there are.

    Raises:
        RefusedArchiveError: see `check_layers`.
    """
    tree = ImageTree()
    volumes: list[str] = []

    def watch(layer: int, member: Member, first: Callable[[int], bytes]) -> None:
        tree.see(layer, member, first)
        if member.kind == "file" and len(volumes) < _MOST_VOLUMES and _is_medical(member.name):
            volumes.append(member.name)

    clean = check_layers(blobs, image, limits or ArchiveLimits(), watcher=watch, progress=progress)
    settings = image.about.get("config")
    config: Mapping[str, Any] = settings if isinstance(settings, dict) else {}
    check = _words((config.get("Healthcheck") or {}).get("Test"))
    return ImageContents(
        platform=image.platform,
        size_bytes=clean.unpacked_bytes if size_bytes is None else size_bytes,
        user=str(config.get("User") or ""),
        working_folder=str(PurePosixPath("/") / str(config.get("WorkingDir") or "/")),
        entrypoint=_words(config.get("Entrypoint")),
        environment=_words(config.get("Env")),
        declared_volumes=_words(sorted(config.get("Volumes") or ())),
        health_check=() if check[:1] in (("NONE",), ("",)) else check,
        tree=tree,
        volumes=tuple(volumes),
    )


def _words(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):  # some writers do
        return (value,)
    return tuple(each if isinstance(each, str) else json.dumps(each) for each in value or ())


def _is_medical(name: str) -> bool:
    return bool(_VOLUME_FILE.search(name)) and not _LIBRARY_PATH.search(name)
