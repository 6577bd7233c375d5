"""Check an image's layers and write them anew: what an engine reads of a layer is what was understood here.

Readers of tars differ where headers contradict each other, so a layer that one finds harmless may mean
something else to the engine. Here every layer is read entry by entry, and a tar of the plainest kind is
made from what was found: one header an entry, and nothing that no case needs. Left out are device nodes,
set-user-id and set-group-id bits, extended attributes (file capabilities among them), user and group names
and fractions of seconds. The same layer always gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from harness.submission.archive import ArchivedImage
from harness.submission.blobs import Blobs
from harness.submission.compression import Decompressed
from harness.submission.tarstream import BLOCK, Member, Readable, RefusedArchiveError, TarStream, safe_name

RULES = 1
"""Raised when the same layer is written otherwise, so that images taken in before are taken in again."""

_CHUNK = 1 << 20
_WHITEOUT = ".wh."
_KEPT_MODE = 0o1777
_TYPES = {"file": tarfile.REGTYPE, "folder": tarfile.DIRTYPE, "symlink": tarfile.SYMTYPE}
_TYPES |= {"hardlink": tarfile.LNKTYPE, "fifo": tarfile.FIFOTYPE}

Watcher = Callable[[int, Member, Callable[[int], bytes]], None]
"""Called with a layer's number, one of its entries under its safe name, and what gives its first bytes."""


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold. The engine unpacks it all, so a bomb must be found before."""

    unpacked_bytes: int = 64 << 30
    entries: int = 2_000_000
    layers: int = 127


@dataclass(frozen=True)
class CleanLayer:
    """A layer as it is written anew.

    Attributes:
        blob: Where the layer lies that it is made from.
        diff_id: SHA-256 of its bytes, `sha256:...`.
    """

    blob: str
    diff_id: str
    size_bytes: int


@dataclass(frozen=True)
class CleanImage:
    """An image that was read to its end, and how it is written anew.

    Attributes:
        source: As it was handed in.
        config: Its configuration with the new layers.
        unpacked_bytes: What its layers hold, headers included.
    """

    source: ArchivedImage
    config: bytes
    layers: tuple[CleanLayer, ...]
    unpacked_bytes: int

    @property
    def digest(self) -> str:
        """The new config's digest."""
        return f"sha256:{hashlib.sha256(self.config).hexdigest()}"

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The new layers' digests, lowest first."""
        return tuple(layer.diff_id for layer in self.layers)


def check_layers(
    blobs: Blobs,
    image: ArchivedImage,
    limits: ArchiveLimits,
    *,
    watcher: Watcher | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> CleanImage:
    """Read every layer to its end, entry by entry, and return how the image is written anew.

    Args:
        blobs: The archive's files.
        image: One of its images.
        limits: What it may hold.
        watcher: Sees every entry; a layer that occurs twice is shown twice.
        progress: Called with the layers done, and how many there are.

    Raises:
        RefusedArchiveError: more than the limits allow, a path that leads out of the image, or a layer
            that is not what the config says.
    """
    if len(image.layers) > limits.layers:
        raise RefusedArchiveError(f"it has {len(image.layers)} layers, more than {limits.layers}")
    bytes_left, entries_left = limits.unpacked_bytes, limits.entries
    clean: list[CleanLayer] = []
    for number, (name, diff_id) in enumerate(zip(image.layers, image.diff_ids, strict=True)):
        progress(number, len(image.layers))
        layer = _Hashed(Decompressed(blobs.open(name), max_bytes=bytes_left))
        members = TarStream(layer, max_members=entries_left)
        written = _Hash()
        for data in _anew(members, _watching(watcher, number)):
            written.add(data)
        layer.drain()
        if layer.sum.digest != diff_id:
            raise RefusedArchiveError(f"the layer {name!r} is not the one its config names")
        entries_left -= members.count
        bytes_left -= max(layer.sum.size, written.size)
        if bytes_left < 0:
            raise RefusedArchiveError("it unpacks to more than is allowed")
        clean.append(CleanLayer(name, written.digest, written.size))
    progress(len(image.layers), len(image.layers))
    config = _config_anew(image.about, [layer.diff_id for layer in clean])
    return CleanImage(image, config, tuple(clean), limits.unpacked_bytes - bytes_left)


def check_layer_entry(member: Member) -> str:
    """Refuse a layer's entry that could reach out of the image while it is unpacked; return its safe name.

    Symbolic links may point anywhere: they are followed inside the container only. A hard link is
    made while unpacking, so its target must lie inside.

    Raises:
        RefusedArchiveError: it could.
    """
    name = safe_name(member.name, rooted=True)
    if member.kind == "hardlink":
        safe_name(member.target, rooted=True)
    if not name and member.kind != "folder":
        raise RefusedArchiveError(f"it holds a {member.kind} in the place of the image's root")
    last = name.rpartition("/")[2]
    if last.startswith(_WHITEOUT) and last.removeprefix(_WHITEOUT) in ("", ".", ".."):
        raise RefusedArchiveError(f"it holds the whiteout {name!r}")
    return name


def archive_anew(blobs: Blobs, image: CleanImage, tag: str) -> Iterator[bytes]:
    """Yield a `docker save` archive of the image as it is written anew.

    Raises:
        RefusedArchiveError: a layer changed since it was checked.
    """
    yield from _head(image.config, image.diff_ids, tag)
    for layer in {layer.diff_id: layer for layer in image.layers}.values():
        yield _file_header(_layer_name(layer.diff_id), layer.size_bytes)
        written = _Hash()
        stream = TarStream(Decompressed(blobs.open(layer.blob), max_bytes=1 << 62), max_members=1 << 62)
        for data in _anew(stream, None):
            written.add(data)
            if written.size > layer.size_bytes:
                break
            yield data
        if (written.digest, written.size) != (layer.diff_id, layer.size_bytes):
            raise RefusedArchiveError("a layer of it changed while it was read")
        yield b"\0" * (-layer.size_bytes % BLOCK)
    yield b"\0" * (2 * BLOCK)


def archive_as_it_is(blobs: Blobs, image: ArchivedImage, tag: str) -> Iterator[bytes]:
    """Yield a `docker save` archive with the image's own layers, always the same bytes."""
    yield from _head(image.config, image.diff_ids, tag)
    for diff_id, blob in dict(zip(image.diff_ids, image.layers, strict=True)).items():
        yield _file_header(_layer_name(diff_id), blobs.size(blob))
        yield from _padded(blobs.open(blob), blobs.size(blob))
    yield b"\0" * (2 * BLOCK)


def size_as_it_is(blobs: Blobs, image: ArchivedImage) -> int:
    """Return about how many bytes `archive_as_it_is` yields."""
    return sum(blobs.size(name) for name in set(image.layers))


def _watching(watcher: Watcher | None, number: int) -> Callable[[Member, TarStream], Iterator[bytes]] | None:
    """Return what gives an entry's bytes after the watcher saw as many of the first as it wants."""
    if watcher is None:
        return None

    def content(member: Member, stream: TarStream) -> Iterator[bytes]:
        seen: list[bytes] = []

        def first(size: int) -> bytes:
            while size > 0 and (data := stream.read(min(size, _CHUNK))):
                seen.append(data)
                size -= len(data)
            return b"".join(seen)

        watcher(number, member, first)
        yield from seen
        yield from _rest(stream)

    return content


def _rest(stream: TarStream) -> Iterator[bytes]:
    while data := stream.read(_CHUNK):
        yield data


def _anew(
    stream: TarStream, content: Callable[[Member, TarStream], Iterator[bytes]] | None
) -> Iterator[bytes]:
    """Yield a layer's bytes as they are written anew, reading the stream along."""
    for member in stream:
        name = check_layer_entry(member)
        body = _rest(stream) if content is None else content(_renamed(member, name), stream)
        if member.kind == "device":
            for _ in body:
                pass
            continue
        yield _entry_header(member, name)
        yield from body
        yield b"\0" * (-member.size % BLOCK)
    yield b"\0" * (2 * BLOCK)


def _renamed(member: Member, name: str) -> Member:
    return Member(
        name, member.kind, member.size, member.target, member.mode, member.offset, member.uid, member.gid
    )


def _entry_header(member: Member, name: str) -> bytes:
    info = tarfile.TarInfo(name or ".")
    info.type = _TYPES[member.kind]
    info.size = member.size
    info.mode = member.mode & _KEPT_MODE
    info.uid, info.gid, info.mtime = member.uid, member.gid, member.mtime_s
    if member.kind == "symlink":
        info.linkname = member.target
    elif member.kind == "hardlink":
        info.linkname = safe_name(member.target, rooted=True)
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _config_anew(about: Mapping[str, Any], diff_ids: list[str]) -> bytes:
    """Return the config with other layers. Their digests differ, and nothing else does."""
    known = dict(about)
    known["rootfs"] = {"type": "layers", "diff_ids": diff_ids}
    return json.dumps(known, sort_keys=True, separators=(",", ":")).encode()


def _head(config: bytes, diff_ids: tuple[str, ...], tag: str) -> Iterator[bytes]:
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": [_layer_name(each) for each in diff_ids]}]
    yield from _file("manifest.json", json.dumps(manifest).encode())
    yield from _file(name, config)


def _layer_name(diff_id: str) -> str:
    return f"{diff_id.removeprefix('sha256:')}.tar"


def _file(name: str, content: bytes) -> Iterator[bytes]:
    yield _file_header(name, len(content))
    yield content + b"\0" * (-len(content) % BLOCK)


def _file_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, stat.S_IMODE(0o644)
    return info.tobuf(tarfile.PAX_FORMAT)


def _padded(source: Readable, size: int) -> Iterator[bytes]:
    left = size
    while left > 0:
        data = source.read(min(left, _CHUNK))
        if not data:
            raise RefusedArchiveError("a file of it became shorter while it was read")
        left -= len(data)
        yield data
    yield b"\0" * (-size % BLOCK)


class _Hash:
    """Count and hash."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"

    def add(self, data: bytes) -> None:
        self._hash.update(data)
        self.size += len(data)


class _Hashed:
    """Count and hash what is read."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.sum = _Hash()

    def read(self, size: int, /) -> bytes:
        data = self._source.read(size)
        self.sum.add(data)
        return data

    def drain(self) -> None:
        while self.read(_CHUNK):
            pass
