"""Take in an image from elsewhere: a tag, a `docker save` archive, an OCI layout, or a folder to build."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from harness.engine.identity import Identity, recall, remember
from harness.engine.images import EngineImage, EngineRefused, ImageClient
from harness.errors import ConfigurationError, InfrastructureError, SubmissionError
from harness.submission.archive import ArchivedImage, read_image
from harness.submission.blobs import Blobs, unpacked_archive
from harness.submission.build import build
from harness.submission.find import MANIFEST, open_submission
from harness.submission.image import BuiltImage, Progress, built, describe, silent
from harness.submission.layers import RULES, ArchiveLimits, archive_anew, check_layers
from harness.submission.sources import SUFFIXES, is_archive_name, opened

INTAKE_IMAGES = "flareharness/intake"


def take_in(
    source: str,
    *,
    challenge: str,
    images: ImageClient,
    progress: Progress = silent,
    limits: ArchiveLimits | None = None,
) -> BuiltImage:
    """Return the image that `source` stands for, in the engine and pinned by digest.

    Args:
        source: An image's tag or id on this host; a `docker save` archive or an OCI layout, as a tar
            under any compression that `docker load` takes or as a folder; or a submission's folder
            with a Dockerfile.
        challenge: The challenge's name, for a folder's build arguments.
        images: The engine's images.
        progress: Gets one line at a time.
        limits: What an archive may hold.

    Raises:
        ConfigurationError: there is no such file, folder or image.
        SubmissionError: the archive is refused (see `RefusedArchiveError`), or the folder does not build.
        InfrastructureError: the engine failed, or the disk is full.
    """
    path = Path(source)
    limits = limits or ArchiveLimits()
    if path.is_dir() and ((path / MANIFEST).is_file() or unpacked_archive(path) is None):
        return build(open_submission(path), challenge=challenge, images=images, progress=progress)
    if path.exists():
        with opened(path, limits.unpacked_bytes, progress) as blobs:
            return _load(blobs, path.resolve().name, images, limits, progress)
    if is_archive_name(source):
        raise ConfigurationError(
            "there is no such image archive or folder", where=source, mend="Check the path."
        )
    image = describe(images, source)
    if image is None:
        raise ConfigurationError(
            "there is no such image on this host",
            where=source,
            mend="Load or pull it first, or name a `docker save` archive.",
        )
    return image


def team_of(source: str) -> str:
    """Return the team's name that an archive's file name or an image's tag stands for, in lower case."""
    return re.sub(r"[^a-z0-9]+", "_", name_in(source).lower()).strip("_") or "unnamed"


def name_in(source: str) -> str:
    """Return the name in an archive's file name or an image's tag, spelt as it is there."""
    name = source.partition("@")[0].rstrip("/").rpartition("/")[2]
    for suffix in sorted(SUFFIXES, key=len, reverse=True):
        name = name.removesuffix(suffix)
    return name.partition(":")[0]


def _load(
    blobs: Blobs, name: str, images: ImageClient, limits: ArchiveLimits, progress: Progress
) -> BuiltImage:
    image = read_image(blobs, platform=images.platform)
    identity = Identity(image.digest, image.diff_ids, RULES)
    reference = f"{INTAKE_IMAGES}/{team_of(name)}:{image.digest.removeprefix('sha256:')[:16]}"
    held = images.inspect(reference)
    if held is None or recall(held.id) != identity:
        held = _loaded_anew(blobs, image, reference, images, limits, progress)
        remember(held.id, identity)
    return built(images, reference, held)


def _loaded_anew(
    blobs: Blobs,
    image: ArchivedImage,
    reference: str,
    images: ImageClient,
    limits: ArchiveLimits,
    progress: Progress,
) -> EngineImage:
    progress(f"checking {len(image.layers)} layers of {reference}")
    clean = check_layers(blobs, image, limits)
    _check_space(images, clean.unpacked_bytes)
    progress(f"loading {reference}")
    try:
        images.load(archive_anew(blobs, clean, reference))
    except EngineRefused as error:
        raise SubmissionError("the engine refuses the image", where=str(error)) from error
    found = images.inspect(reference)
    if found is None or found.diff_ids != clean.diff_ids or found.config_digest not in ("", clean.digest):
        raise InfrastructureError("the engine loaded another image than it was given", where=reference)
    return found


def _check_space(images: ImageClient, unpacked_bytes: int) -> None:
    """Refuse what would fill the engine's disk, where that disk is one of this host."""
    folder = images.folder
    if folder is None:
        return
    needed = 2 * unpacked_bytes  # the engine keeps what it is sent until the layers are unpacked
    if (free := shutil.disk_usage(folder).free) < needed:
        raise InfrastructureError(
            f"loading the image needs {needed >> 20} MB, and {free >> 20} MB are free",
            where=folder,
            mend="Free space where the engine keeps its images.",
        )
