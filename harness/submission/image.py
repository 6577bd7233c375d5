"""What the rest of the harness gets to know of an image, and the labels that our own images carry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness.engine.identity import identify
from harness.engine.images import EngineImage, ImageClient

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
        identity: The digest of its config, the same in every store; of an archive, as it was handed in.
    """

    reference: str
    digest: str
    size_bytes: int
    user: str
    platform: str
    identity: str


def describe(images: ImageClient, reference: str) -> BuiltImage | None:
    """Return the image that the engine has under a tag or id now, or None."""
    found = images.inspect(reference)
    return None if found is None else built(images, reference, found)


def built(images: ImageClient, reference: str, found: EngineImage) -> BuiltImage:
    """Return an image that was looked up under a name that an evaluation can use."""
    return BuiltImage(
        reference=reference,
        digest=found.id,
        size_bytes=found.size_bytes,
        user=found.user,
        platform=found.platform,
        identity=identify(images, found).config_digest,
    )


def content_of(images: ImageClient, reference: str) -> str | None:
    """Return the content label of the image under a tag, or None where there is no such image or label."""
    found = images.inspect(reference)
    return None if found is None else found.labels.get(CONTENT_LABEL)
