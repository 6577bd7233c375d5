"""An image archive as files: understand what `docker save` or OCI wrote, check it, and write it anew.

Nothing of a stranger's archive reaches the engine as it came. It is read into an `ArchivedImage`, its
layers are checked one entry at a time, and what the engine gets is written by `rewritten`: the config, the
layers, and a manifest of ours with a tag of ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeGuard

from harness.submission.tarstream import (
    Decompressed,
    Member,
    Readable,
    RefusedArchiveError,
    TarStream,
    safe_name,
)

_CHUNK = 1 << 20
_LARGEST_JSON_BYTES = 4 << 20
_DEEPEST_INDEX = 3
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_WHITEOUT = ".wh."


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold. The engine unpacks it all, so a bomb must be found before."""

    unpacked_bytes: int = 64 << 30
    entries: int = 2_000_000
    layers: int = 127


class Blobs(Protocol):
    """The files of an archive by name."""

    def size(self, name: str) -> int:
        """Return a file's size in bytes.

        Raises:
            RefusedArchiveError: there is no such file, or it is not a regular one.
        """

    def open(self, name: str) -> Readable:
        """Return a file's content, from its start. Raises as `size` does."""

    def __contains__(self, name: str) -> bool: ...


@dataclass(frozen=True)
class ArchivedImage:
    """One image of an archive.

    Attributes:
        config: The image's configuration, byte for byte: its SHA-256 is the image id.
        layers: Blob names, lowest layer first.
        diff_ids: SHA-256 of each layer unpacked, `sha256:...`, from the config.
    """

    config: bytes
    layers: tuple[str, ...]
    diff_ids: tuple[str, ...]

    @property
    def digest(self) -> str:
        """The image id."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"


class TarBlobs:
    """The files of an uncompressed tar on disk. Only an index of it is kept in memory."""

    def __init__(self, path: Path, *, max_members: int = 10_000) -> None:
        self._path = path
        self._files: dict[str, tuple[int, int]] = {}
        links: dict[str, str] = {}
        with path.open("rb") as file:
            for member in TarStream(file, max_members=max_members):
                self._index(member, links)
        for name, target in links.items():
            if target not in self._files:
                raise RefusedArchiveError(f"it holds a link to something outside, {name!r}", where=path)
            self._files[name] = self._files[target]

    def size(self, name: str) -> int:
        """See `Blobs.size`."""
        return self._find(name)[1]

    def open(self, name: str) -> Readable:
        """See `Blobs.open`."""
        offset, size = self._find(name)
        return _Slice(self._path, offset, size)

    def __contains__(self, name: str) -> bool:
        return name in self._files

    def _index(self, member: Member, links: dict[str, str]) -> None:
        name = safe_name(member.name)
        if name in self._files or name in links:
            raise RefusedArchiveError(f"it holds {name!r} twice", where=self._path)
        if member.kind == "file":
            self._files[name] = (member.offset, member.size)
        elif member.kind == "symlink":
            # Engines before 25 write a layer that occurs twice as a link to the first.
            links[name] = _resolved(name, member.target)
        elif member.kind == "hardlink":
            links[name] = safe_name(member.target)
        elif member.kind != "folder":
            raise RefusedArchiveError(f"it holds a {member.kind}, {name!r}", where=self._path)

    def _find(self, name: str) -> tuple[int, int]:
        if name not in self._files:
            raise RefusedArchiveError(f"it lacks {name!r}", where=self._path)
        return self._files[name]


class FolderBlobs:
    """The files of an unpacked archive. Links are never followed, whoever puts them there and when."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def size(self, name: str) -> int:
        """See `Blobs.size`."""
        descriptor = self._descriptor(name)
        try:
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def open(self, name: str) -> Readable:
        """See `Blobs.open`."""
        descriptor = self._descriptor(name)
        return _Slice(Path(name), 0, os.fstat(descriptor).st_size, descriptor)

    def __contains__(self, name: str) -> bool:
        try:
            os.close(self._descriptor(name))
        except RefusedArchiveError:
            return False
        return True

    def _descriptor(self, name: str) -> int:
        *folders, last = safe_name(name).split("/")
        current = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in folders:
                above, current = (
                    current,
                    os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=current),
                )
                os.close(above)
            found = os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=current)
        except OSError as error:
            raise RefusedArchiveError(f"it lacks {name!r}: {error.strerror}", where=self._folder) from error
        finally:
            os.close(current)
        if not stat.S_ISREG(os.fstat(found).st_mode):
            os.close(found)
            raise RefusedArchiveError(f"{name!r} is not a regular file", where=self._folder)
        return found


@dataclass
class _Slice:
    """A part of a file as a stream of its own."""

    path: Path
    offset: int
    size: int
    _descriptor: int = -1

    def read(self, size: int, /) -> bytes:
        if self._descriptor < 0:
            self._descriptor = os.open(self.path, os.O_RDONLY)
        data = os.pread(self._descriptor, min(size, self.size), self.offset)
        self.offset += len(data)
        self.size -= len(data)
        return data

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)


def read_image(blobs: Blobs, *, platform: str = "linux/amd64") -> ArchivedImage:
    """Understand an archive: `docker save` with its manifest.json, or else an OCI layout.

    Args:
        blobs: The archive's files.
        platform: Which image of an OCI index for several is meant.

    Raises:
        RefusedArchiveError: it is neither, holds no or several images, lacks a file, or a blob is not
            what its digest says.
    """
    if "manifest.json" in blobs:
        return _docker_image(blobs)
    if "index.json" in blobs:
        return _oci_image(blobs, platform)
    raise RefusedArchiveError("it has neither manifest.json nor index.json")


def check_layers(
    blobs: Blobs,
    image: ArchivedImage,
    limits: ArchiveLimits,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> int:
    """Read every layer to its end, entry by entry, and return how many bytes they unpack to.

    Raises:
        RefusedArchiveError: more than the limits allow, a path that leads out of the image, or a layer
            that is not what the config says.
    """
    if len(image.layers) > limits.layers:
        raise RefusedArchiveError(f"it has {len(image.layers)} layers, more than {limits.layers}")
    bytes_left, entries_left = limits.unpacked_bytes, limits.entries
    for done, (name, diff_id) in enumerate(zip(image.layers, image.diff_ids, strict=True)):
        progress(done, len(image.layers))
        layer = _Hashed(Decompressed(blobs.open(name), max_bytes=bytes_left))
        for member in TarStream(layer, max_members=entries_left):
            check_layer_entry(member)
            entries_left -= 1
        layer.drain()
        if layer.digest != diff_id:
            raise RefusedArchiveError(f"the layer {name!r} is not the one its config names")
        bytes_left -= layer.size
    progress(len(image.layers), len(image.layers))
    return limits.unpacked_bytes - bytes_left


def check_layer_entry(member: Member) -> None:
    """Refuse a layer's entry that could reach out of the image while it is unpacked.

    Symbolic links may point anywhere: they are followed inside the container only. A hard link is
    made while unpacking, so its target must lie inside.

    Raises:
        RefusedArchiveError: it could.
    """
    name = safe_name(member.name, rooted=True)
    if member.kind == "hardlink":
        safe_name(member.target, rooted=True)
    last = name.rpartition("/")[2]
    if last.startswith(_WHITEOUT) and last.removeprefix(_WHITEOUT) in ("", ".", ".."):
        raise RefusedArchiveError(f"it holds the whiteout {name!r}")


def rewritten(blobs: Blobs, image: ArchivedImage, tag: str) -> Iterator[bytes]:
    """Yield a `docker save` archive of the image, the same bytes for the same image and tag."""
    config_name = f"{image.digest.removeprefix('sha256:')}.json"
    layers = {diff_id: name for diff_id, name in zip(image.diff_ids, image.layers, strict=True)}
    names = {diff_id: f"{diff_id.removeprefix('sha256:')}.tar" for diff_id in layers}
    manifest = [
        {"Config": config_name, "RepoTags": [tag], "Layers": [names[each] for each in image.diff_ids]}
    ]
    yield from _file("manifest.json", json.dumps(manifest).encode())
    yield from _file(config_name, image.config)
    for diff_id, blob in layers.items():
        yield _file_header(names[diff_id], blobs.size(blob))
        yield from _padded(blobs.open(blob), blobs.size(blob))
    yield b"\0" * 1024


def rewritten_size(blobs: Blobs, image: ArchivedImage) -> int:
    """Return about how many bytes `rewritten` yields."""
    return sum(blobs.size(name) for name in set(image.layers))


def _docker_image(blobs: Blobs) -> ArchivedImage:
    manifest = _json(blobs, "manifest.json")
    if not isinstance(manifest, list) or len(manifest) != 1:
        count = len(manifest) if isinstance(manifest, list) else 0
        raise RefusedArchiveError(f"its manifest.json names {count} images, not one")
    entry = manifest[0]
    config, layers = (entry.get("Config"), entry.get("Layers")) if isinstance(entry, dict) else (None, None)
    if not isinstance(config, str) or not _all_text(layers):
        raise RefusedArchiveError("its manifest.json names no config and layers")
    return _image(_bytes(blobs, safe_name(config)), tuple(safe_name(name) for name in layers))


def _oci_image(blobs: Blobs, platform: str) -> ArchivedImage:
    descriptor: Any = {"digest": ""}
    document = _json(blobs, "index.json")
    for _ in range(_DEEPEST_INDEX):
        if not (isinstance(document, dict) and "manifests" in document):
            break
        descriptor = _chosen(document["manifests"], platform)
        document = _json(blobs, _blob_name(descriptor), verify=True)
    if not (isinstance(document, dict) and _digests(document.get("layers")) and "config" in document):
        raise RefusedArchiveError("its index leads to no image manifest")
    config = _bytes(blobs, _blob_name(document["config"]), verify=True)
    return _image(config, tuple(_blob_name(layer) for layer in document["layers"]))


def _chosen(manifests: Any, platform: str) -> Any:
    if not _digests(manifests):
        raise RefusedArchiveError("its index names no manifests")
    images = [each for each in manifests if _platform(each) in ("", platform)]
    if len(images) != 1:
        raise RefusedArchiveError(f"its index names {len(images)} images for {platform}, not one")
    return images[0]


def _platform(descriptor: Any) -> str:
    platform = descriptor.get("platform")
    return f"{platform.get('os')}/{platform.get('architecture')}" if isinstance(platform, dict) else ""


def _digests(descriptors: Any) -> bool:
    return isinstance(descriptors, list) and all(isinstance(each, dict) for each in descriptors)


def _blob_name(descriptor: Any) -> str:
    digest = descriptor.get("digest") if isinstance(descriptor, dict) else None
    if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
        raise RefusedArchiveError(f"it names a blob by {str(digest)[:100]!r}, not by a sha256 digest")
    return f"blobs/{digest.replace(':', '/')}"


def _image(config: bytes, layers: tuple[str, ...]) -> ArchivedImage:
    content = _parsed(config, "the image's config")
    root = content.get("rootfs") if isinstance(content, dict) else None
    diff_ids = root.get("diff_ids") if isinstance(root, dict) else None
    if not _all_text(diff_ids) or not all(_SHA256.fullmatch(each) for each in diff_ids):
        raise RefusedArchiveError("the image's config names no layers")
    if len(diff_ids) != len(layers):
        raise RefusedArchiveError(f"its manifest has {len(layers)} layers, its config {len(diff_ids)}")
    return ArchivedImage(config, layers, tuple(diff_ids))


def _all_text(values: Any) -> TypeGuard[list[str]]:
    return isinstance(values, list) and all(isinstance(value, str) for value in values)


def _json(blobs: Blobs, name: str, *, verify: bool = False) -> Any:
    return _parsed(_bytes(blobs, name, verify=verify), name)


def _parsed(data: bytes, name: str) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RefusedArchiveError(f"{name} is not JSON") from error


def _bytes(blobs: Blobs, name: str, *, verify: bool = False) -> bytes:
    if blobs.size(name) > _LARGEST_JSON_BYTES:
        raise RefusedArchiveError(f"{name!r} has {blobs.size(name)} bytes")
    source, parts = blobs.open(name), []
    while data := source.read(_CHUNK):
        parts.append(data)
    content = b"".join(parts)
    if verify and hashlib.sha256(content).hexdigest() != name.rpartition("/")[2]:
        raise RefusedArchiveError(f"{name!r} is not what its digest says")
    return content


def _resolved(name: str, target: str) -> str:
    """Return what a relative link of the archive points to, which may go up within it."""
    outside = RefusedArchiveError(f"it holds a link that leads outside, {name!r}")
    if target.startswith("/"):
        raise outside
    parts = name.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            if not parts:
                raise outside
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _Hashed:
    """Count and hash what is read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        self.size += len(data)
        return data

    def drain(self) -> None:
        while self.read(_CHUNK):
            pass


def _file(name: str, content: bytes) -> Iterator[bytes]:
    yield _file_header(name, len(content))
    yield content + b"\0" * (-len(content) % 512)


def _file_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(source: Readable, size: int) -> Iterator[bytes]:
    left = size
    while left > 0:
        data = source.read(min(left, _CHUNK))
        if not data:
            raise RefusedArchiveError("a file of it became shorter while it was read")
        left -= len(data)
        yield data
    yield b"\0" * (-size % 512)
