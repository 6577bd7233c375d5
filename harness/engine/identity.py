"""An image's identity, the same in every store: the digest of its config, and those of its layers unpacked.

Docker's classic store and Podman name an image by its config; Docker's containerd store names it by a
manifest, which differs with how the layers happen to be compressed. So the config is read from what the
engine saves, once per image, and remembered in the cache folder under the engine's own id, which is as
content-addressed as the answer. An image that the intake wrote anew is remembered as what was handed in.
"""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, cast

from harness.engine.cache import cache_folder, made_cache_folder, unwritable
from harness.engine.images import EngineImage, ImageClient
from harness.errors import InfrastructureError, PrerequisiteError
from harness.files import write_whole

_LARGEST_CONFIG_BYTES = 4 << 20


@dataclass(frozen=True)
class Identity:
    """What an image is, whoever holds it.

    Attributes:
        config_digest: SHA-256 of its config, `sha256:...`.
        diff_ids: SHA-256 of each layer unpacked, lowest first.
        rules: The version of the rules that the intake wrote its layers by; 0 for an image as it came.
    """

    config_digest: str
    diff_ids: tuple[str, ...]
    rules: int = 0


def identify(images: ImageClient, image: EngineImage) -> Identity:
    """Return an image's identity.

    Raises:
        InfrastructureError: the engine failed, or what it saves is no image.
    """
    if (known := recall(image.id)) is not None:
        return known
    if image.config_digest:
        return Identity(image.config_digest, image.diff_ids)
    found = Identity(_saved_config(images, image), image.diff_ids)
    with suppress(PrerequisiteError):  # it is read again the next time
        remember(image.id, found)
    return found


def remember(image_id: str, identity: Identity) -> None:
    """Keep the identity of an image of this host's engine.

    Raises:
        PrerequisiteError: the cache folder cannot be written.
    """
    path = made_cache_folder() / _record(image_id)
    try:
        path.parent.mkdir(exist_ok=True)
        write_whole(path, json.dumps(asdict(identity)))
    except OSError as error:
        raise unwritable(error) from error


def recall(image_id: str) -> Identity | None:
    """Return what was remembered of an image, or None."""
    try:
        found = json.loads((cache_folder() / _record(image_id)).read_text())
        return Identity(str(found["config_digest"]), tuple(found["diff_ids"]), int(found["rules"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _record(image_id: str) -> Path:
    return Path("images") / f"{image_id.removeprefix('sha256:')}.json"


def _saved_config(images: ImageClient, image: EngineImage) -> str:
    """Read the config's digest from the image as the engine saves it."""
    small: dict[str, bytes] = {}
    saved = _Chunks(images.save(image.id))
    with tarfile.open(fileobj=cast(IO[bytes], saved), mode="r|") as archive:
        for member in archive:
            if member.isreg() and member.size <= _LARGEST_CONFIG_BYTES:
                content = archive.extractfile(member)
                data = content.read() if content is not None else b""
                if data[:1] in (b"{", b"["):
                    small[member.name] = data
    for config in _configs(small):
        about: Mapping[str, Any] = json.loads(config)
        if tuple((about.get("rootfs") or {}).get("diff_ids") or ()) == image.diff_ids:
            return f"sha256:{hashlib.sha256(config).hexdigest()}"
    raise InfrastructureError("the engine saves an image without its config", where=image.id)


def _configs(files: Mapping[str, bytes]) -> Iterator[bytes]:
    for entry in json.loads(files.get("manifest.json", b"[]")):
        if (config := files.get(str(entry.get("Config")))) is not None:
            yield config


class _Chunks:
    """An iterator of byte strings as a stream."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        parts, wanted = [], size
        while wanted > 0 and (self._rest or (chunk := next(self._chunks, b""))):
            if not self._rest:
                self._rest = chunk
            parts.append(self._rest[:wanted])
            self._rest = self._rest[wanted:]
            wanted -= len(parts[-1])
        return b"".join(parts)
