"""Take in an image from elsewhere: a tag, a `docker save` archive, an OCI layout, or a folder to build."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from docker.errors import APIError

from harness.errors import ConfigurationError, InfrastructureError, SubmissionError
from harness.submission.archive import (
    ArchivedImage,
    ArchiveLimits,
    Blobs,
    FolderBlobs,
    TarBlobs,
    check_layers,
    read_image,
    rewritten,
)
from harness.submission.build import build
from harness.submission.find import open_submission
from harness.submission.image import BuiltImage, Progress, describe, engine_answers, inspect, patient, silent
from harness.submission.recipes import cache_folder
from harness.submission.tarstream import Decompressed

INTAKE_IMAGES = "flareharness/intake"
_CHUNK = 1 << 20
_ARCHIVE_SUFFIXES = (".tar", ".tar.gz", ".tgz")


def take_in(
    source: str,
    *,
    challenge: str,
    client: Any,
    progress: Progress = silent,
    limits: ArchiveLimits | None = None,
) -> BuiltImage:
    """Return the image that `source` stands for, in the engine and pinned by digest.

    Args:
        source: An image's tag or id on this host; a `docker save` tar, gzipped or not; an OCI layout
            as tar or folder; or a submission's folder with a Dockerfile.
        challenge: The challenge's name, for a folder's build arguments.
        client: A `docker.DockerClient`.
        progress: Gets one line at a time.
        limits: What an archive may hold.

    Raises:
        ConfigurationError: there is no such file, folder or image.
        SubmissionError: the archive is refused (see `RefusedArchiveError`), or the folder does not build.
        InfrastructureError: the engine failed, or the disk is full.
    """
    path = Path(source)
    limits = limits or ArchiveLimits()
    if path.is_dir():
        if any((path / name).is_file() for name in ("index.json", "manifest.json")):
            return _load(FolderBlobs(path), path.resolve().name, client, limits, progress)
        return build(open_submission(path), challenge=challenge, client=client, progress=progress)
    if path.is_file():
        with _unpacked(path, limits, progress) as plain:
            return _load(TarBlobs(plain), path.name, client, limits, progress)
    if source.startswith((".", "/", "~")) or source.endswith(_ARCHIVE_SUFFIXES):
        raise ConfigurationError(
            "there is no such image archive or folder", where=source, mend="Check the path."
        )
    image = describe(client, source)
    if image is None:
        raise ConfigurationError(
            "there is no such image on this host",
            where=source,
            mend="Load or pull it first, or name a `docker save` archive.",
        )
    return image


def team_of(source: str) -> str:
    """Return the team's name that an archive's file name or an image's tag stands for, in lower case."""
    name = source.partition("@")[0].rstrip("/").rpartition("/")[2]
    for suffix in (".tar.gz", ".tgz", ".tar"):
        name = name.removesuffix(suffix)
    name = re.sub(r"[^a-z0-9]+", "_", name.partition(":")[0].lower()).strip("_")
    return name or "unnamed"


def _load(blobs: Blobs, name: str, client: Any, limits: ArchiveLimits, progress: Progress) -> BuiltImage:
    image = read_image(blobs, platform=_platform(client))
    reference = f"{INTAKE_IMAGES}/{team_of(name)}:{image.digest.removeprefix('sha256:')[:16]}"
    if not _holds(client, reference, image):
        progress(f"checking {len(image.layers)} layers of {name}")
        _check_space(client, check_layers(blobs, image, limits))
        progress(f"loading {reference}")
        _send(client, rewritten(blobs, image, reference))
        if not _holds(client, reference, image):
            raise InfrastructureError("the engine loaded another image than it was given", where=reference)
    loaded = describe(client, reference)
    assert loaded is not None
    return loaded


def _holds(client: Any, reference: str, image: ArchivedImage) -> bool:
    found = inspect(client, reference)
    return found is not None and tuple((found.get("RootFS") or {}).get("Layers") or ()) == image.diff_ids


def _check_space(client: Any, unpacked_bytes: int) -> None:
    """Refuse what would fill the engine's disk, where that disk is one of this host."""
    with engine_answers("asking where it keeps images"):
        folder = Path(client.api.info().get("DockerRootDir") or "")
    if not folder.is_absolute() or not folder.is_dir():
        return
    needed = 2 * unpacked_bytes  # the engine keeps what it is sent until the layers are unpacked
    if (free := shutil.disk_usage(folder).free) < needed:
        raise InfrastructureError(
            f"loading the image needs {needed >> 20} MB, and {free >> 20} MB are free",
            where=folder,
            mend="Free space where the engine keeps its images.",
        )


def _send(client: Any, archive: Iterator[bytes]) -> None:
    try:
        with engine_answers("loading an image"), patient(client):
            for event in client.api.load_image(archive):
                if error := event.get("error"):
                    raise _refusal(str(error))
    except APIError as error:
        raise _refusal(str(error.explanation or error)) from error


def _refusal(text: str) -> Exception:
    if "no space left on device" in text.lower():
        return InfrastructureError(
            "the disk is full", where="loading an image", mend="Free space where the engine keeps its images."
        )
    return SubmissionError("the engine refuses the image", where=" ".join(text.split()))


def _platform(client: Any) -> str:
    with engine_answers("asking for its platform"):
        version = client.api.version()
    return f"{version.get('Os', 'linux')}/{version.get('Arch', 'amd64')}"


@contextmanager
def _unpacked(path: Path, limits: ArchiveLimits, progress: Progress) -> Iterator[Path]:
    """Give the archive without its gzip, in the cache folder while it is needed."""
    with path.open("rb") as file:
        source = Decompressed(file, max_bytes=limits.unpacked_bytes)
        if not source.is_compressed:
            yield path
            return
        progress(f"decompressing {path.name}")
        cache_folder().mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=cache_folder(), prefix="intake-", suffix=".tar") as plain:
            _copy(source.read, plain.write)
            plain.flush()
            yield Path(plain.name)


def _copy(read: Callable[[int], bytes], write: Callable[[bytes], Any]) -> None:
    folder = cache_folder()
    while data := read(_CHUNK):
        if shutil.disk_usage(folder).free < 2 * len(data) + (1 << 28):
            raise InfrastructureError(
                "the disk is nearly full",
                where=folder,
                mend="Free space, or set FLAREHARNESS_CACHE to another disk.",
            )
        write(data)
