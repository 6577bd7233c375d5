"""How an image gets to the hosts: saved once to the queue, loaded once per host, known by its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from harness.cluster.records import OfferedImage
from harness.engine.base import ContainerEngine, ImageInfo
from harness.engine.cache import cache_folder
from harness.engine.identity import Identity, recall, remember
from harness.engine.images import EngineRefused, ImageClient
from harness.errors import HarnessError, InfrastructureError
from harness.files import whole_file
from harness.results.lock import FileLock
from harness.submission.layers import RULES

REPOSITORY = "flareharness/queued"
_CHUNK = 1 << 20


def offered_image(
    engine: ContainerEngine, image: ImageInfo, name: str, folder: Path, *, travels: bool
) -> OfferedImage:
    """Return how hosts get an image, which is saved once where it has to travel.

    Args:
        engine: Holds it.
        image: What is run.
        name: What the request calls it.
        folder: Where archives are kept, seen by all hosts.
        travels: Whether a worker may stand on a host of another engine.
    """
    if engine.images is None:
        return OfferedImage(reference=name)
    reference = f"{REPOSITORY}:{image.digest.removeprefix('sha256:')[:16]}"
    engine.images.tag(image.digest, reference)
    found = engine.images.inspect(reference)
    if found is None:
        raise InfrastructureError("the engine lost an image", where=reference)
    if not travels:
        return OfferedImage(reference=reference, diff_ids=found.diff_ids)
    folder.mkdir(parents=True, exist_ok=True)
    archive = folder / f"{image.digest.removeprefix('sha256:')}.tar"
    if not archive.is_file():
        with whole_file(archive, durable=True) as unfinished, unfinished.open("wb") as file:
            for chunk in engine.images.save(reference):
                file.write(chunk)
    return OfferedImage(reference=reference, archive=archive.resolve(), diff_ids=found.diff_ids)


def load_offered(
    engine: ContainerEngine, image: OfferedImage, *, identity: str, progress: Callable[[str], None]
) -> None:
    """Load an image unless this host's engine has it; several workers of a host load it once.

    Raises:
        InfrastructureError: it cannot be loaded, or the engine has another one under its name.
    """
    images = engine.images
    if images is None or _is_there(images, image):
        return
    lock = FileLock(cache_folder() / "loading.lock")
    lock.take(lambda _holder: None)
    try:
        if not _is_there(images, image):
            mark = _mark(image)
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()  # before: whoever is killed while it loads leaves an image that is to go
            try:
                _load(images, image, identity, progress)
            except HarnessError:
                mark.unlink(missing_ok=True)
                raise
    finally:
        lock.release()


def _is_there(images: ImageClient, image: OfferedImage) -> bool:
    found = images.inspect(image.reference)
    return found is not None and found.diff_ids == image.diff_ids


def _load(images: ImageClient, image: OfferedImage, identity: str, progress: Callable[[str], None]) -> None:
    if image.archive is None or not image.archive.is_file():
        raise InfrastructureError(
            "this host has no such image, and no archive of it was offered",
            where=image.archive or image.reference,
            mend="Evaluate again from a host that has it; it is then saved for the others.",
        )
    progress(f"loading {image.reference}")
    try:
        images.load(_chunks(image.archive))
    except EngineRefused as error:
        raise InfrastructureError("the engine refuses the image", where=str(error)) from error
    found = images.inspect(image.reference)
    if found is None or found.diff_ids != image.diff_ids:
        raise InfrastructureError("the archive holds another image than was offered", where=image.archive)
    if identity and recall(found.id) is None:
        # The host that took it in knows it as what was handed in, and so must this one.
        remember(found.id, Identity(identity, found.diff_ids, RULES))


def _mark(image: OfferedImage) -> Path:
    """Return the file that tells that this host has an image from its archive alone."""
    return cache_folder() / "loaded" / image.reference.rpartition(":")[2]


def remove_offered(engine: ContainerEngine, image: OfferedImage) -> None:
    """Take away what a worker's host has of an image: all that was loaded for it, else the name alone."""
    if image.archive is None:
        return  # the engine is the client's, who takes the name away
    if not _mark(image).exists():
        withdraw_offered(engine, image)
    elif engine.images is not None:
        with suppress(HarnessError):
            engine.images.remove(image.reference)
        _mark(image).unlink(missing_ok=True)


def withdraw_offered(engine: ContainerEngine, image: OfferedImage) -> None:
    """Take away the name under which an image was offered, but never the image: its last name stays."""
    if engine.images is None:
        return
    with suppress(HarnessError):
        found = engine.images.inspect(image.reference)
        # Podman writes a registry before the name.
        if found is not None and any(not f"/{tag}".endswith(f"/{image.reference}") for tag in found.tags):
            engine.images.remove(image.reference, keep_parents=True)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk
