"""Make the archive that FLARE's organisers ask for: team.tar.gz, as `docker save team:latest` writes it."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, cast

from harness.engine.images import EngineRefused, ImageClient
from harness.errors import ConfigurationError, InfrastructureError
from harness.submission.archive import read_image
from harness.submission.blobs import TarBlobs
from harness.submission.layers import archive_as_it_is, size_as_it_is
from harness.submission.load import team_of

_GZIP_LEVEL = 4
"""Levels above it cost minutes for a few percent: most of an image is compiled code and weights."""


def pack(
    images: ImageClient,
    reference: str,
    *,
    team: str,
    folder: Path,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Path:
    """Write `folder/team.tar.gz` and return its path.

    The same image gives the same bytes, so a hash of the archive can be published. Loading it
    gives the image the tag `team:latest`.

    Args:
        images: The engine's images.
        reference: The image's tag or id.
        team: Its lower case is the archive's and the image's name.
        folder: Where the archive goes; made if it is missing.
        progress: Called with the bytes packed and those there are.

    Raises:
        ConfigurationError: there is no such image, or the folder cannot be written.
        InfrastructureError: the engine failed, or the disk is full.
    """
    found = images.inspect(reference)
    if found is None:
        raise ConfigurationError(
            "there is no such image on this host", where=reference, mend="Build or load it first."
        )
    name = team_of(team)
    target = folder / f"{name}.tar.gz"
    partial = folder / f".{name}.tar.gz.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, prefix=f".{name}.") as saved:
            _save(images, found.id, saved.write)
            saved.flush()
            blobs = TarBlobs(cast(BinaryIO, saved), where=reference)
            image = read_image(blobs, platform=found.platform)
            total, done = size_as_it_is(blobs, image), 0
            with (
                partial.open("wb") as file,
                gzip.GzipFile("", "wb", compresslevel=_GZIP_LEVEL, fileobj=file, mtime=0) as packed,
            ):
                for data in archive_as_it_is(blobs, image, f"{name}:latest"):
                    packed.write(data)
                    done += len(data)
                    progress(min(done, total), total)
        partial.replace(target)
    except PermissionError as error:
        raise ConfigurationError(
            "the folder cannot be written", where=folder, mend="Name another."
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _save(images: ImageClient, reference: str, write: Callable[[bytes], object]) -> None:
    try:
        for chunk in images.save(reference):
            _write(write, chunk)
    except EngineRefused as error:
        raise InfrastructureError("the engine cannot save the image", where=str(error)) from error


def _write(write: Callable[[bytes], object], chunk: bytes) -> None:
    try:
        write(chunk)
    except OSError as error:
        raise InfrastructureError(
            f"the image cannot be packed: {error.strerror}",
            where=error.filename or "",
            mend="Free space, or name another folder.",
        ) from error
