"""Read a stranger's tar: one pass, nothing unpacked, and no header believed further than it must be.

The standard library's reader keeps extended headers of any length in memory, accepts sparse files
and remembers every member. An archive from outside may be made to hurt by each of these.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from harness.errors import SubmissionError

BLOCK = 512
LONGEST_EXTENSION_BYTES = 1 << 20
"""Extended headers hold names and attributes; honest ones have a few hundred bytes."""

LONGEST_PATH = 4096
"""The kernel's own limit, PATH_MAX."""

_CHUNK = 1 << 20
_Kind = Literal["file", "folder", "symlink", "hardlink", "device", "fifo"]
_KINDS: dict[bytes, _Kind] = {
    b"0": "file",
    b"\0": "file",
    b"7": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "device",
    b"4": "device",
    b"5": "folder",
    b"6": "fifo",
}


class Readable(Protocol):
    """Anything with `read`."""

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; nothing at the end."""


class RefusedArchiveError(SubmissionError):
    """An image archive is damaged, or does what no honest one does."""

    def __init__(self, what: str, *, where: object = "") -> None:
        super().__init__(
            f"the image archive is refused: {what}", where=where, mend="Make it with `docker save NAME:TAG`."
        )


@dataclass(frozen=True)
class Member:
    """One entry of a tar. `name` and `target` are as written; see `safe_name`."""

    name: str
    kind: _Kind
    size: int
    target: str
    mode: int
    offset: int


class TarStream:
    """Iterate over a tar's members; `read` gives the current member's bytes, so tars nest.

    Args:
        source: The tar, not compressed.
        max_members: More of them are refused.

    Raises:
        RefusedArchiveError: while iterating: a damaged header, a sparse file, an oversized
            extended header, too many members, or an end in the middle.
    """

    def __init__(self, source: Readable, *, max_members: int = 1_000_000) -> None:
        self._source = source
        self._max_members = max_members
        self._position = 0
        self._data_end = 0
        self._next_header = 0

    def __iter__(self) -> Iterator[Member]:
        count = 0
        overrides: dict[str, str] = {}
        while (header := self._header()) is not None:
            kind, size = header[156:157], _number(header[124:136])
            if kind in (b"x", b"g", b"L", b"K"):
                extension = self._extension(size)
                if kind == b"x":
                    overrides |= _pax(extension)
                elif kind == b"L":
                    overrides["path"] = _text(extension)
                elif kind == b"K":
                    overrides["linkpath"] = _text(extension)
                continue
            count += 1
            if count > self._max_members:
                raise RefusedArchiveError(f"it has more than {self._max_members} entries")
            yield self._member(header, size, overrides)
            overrides = {}

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes of the current member."""
        wanted = min(size, self._data_end - self._position)
        if wanted <= 0:
            return b""
        data = self._source.read(wanted)
        if not data:
            raise RefusedArchiveError("it ends in the middle of a file")
        self._position += len(data)
        return data

    def _member(self, header: bytes, size: int, overrides: dict[str, str]) -> Member:
        if any(key.startswith("GNU.sparse") for key in overrides) or header[156:157] == b"S":
            raise RefusedArchiveError("it holds a sparse file")
        kind = _KINDS.get(header[156:157])
        if kind is None:
            raise RefusedArchiveError(f"it holds an entry of the unknown type {header[156:157]!r}")
        prefix = _text(header[345:500]) if header[257:263] == b"ustar\0" else ""
        name = _text(header[0:100])
        if "size" in overrides:
            if not overrides["size"].isdecimal():
                raise RefusedArchiveError("an extended header's size is no number")
            size = int(overrides["size"])
        if kind != "file":
            size = 0
        name = overrides.get("path", f"{prefix}/{name}" if prefix else name)
        target = overrides.get("linkpath", _text(header[157:257]))
        if max(len(name), len(target)) > LONGEST_PATH:
            raise RefusedArchiveError(f"it holds a path of {max(len(name), len(target))} characters")
        self._data_end = self._position + size
        self._next_header = self._position + -(-size // BLOCK) * BLOCK
        return Member(
            name=name,
            kind=kind,
            size=size,
            target=target,
            mode=_number(header[100:108]) & 0o7777,
            offset=self._position,
        )

    def _header(self) -> bytes | None:
        """Skip what is left of the current member and return the next header; None at the end."""
        while (left := self._next_header - self._position) > 0:
            skipped = self._source.read(min(left, _CHUNK))
            if not skipped:
                raise RefusedArchiveError("it ends in the middle of a file")
            self._position += len(skipped)
        header = self._exactly(BLOCK)
        if not header.strip(b"\0"):
            return None
        unsigned = sum(header[:148]) + sum(b" " * 8) + sum(header[156:])
        if len(header) < BLOCK or _number(header[148:156]) != unsigned:
            raise RefusedArchiveError("a header is damaged, or this is no tar")
        self._data_end = self._next_header = self._position
        return header

    def _extension(self, size: int) -> bytes:
        if size > LONGEST_EXTENSION_BYTES:
            raise RefusedArchiveError(f"it holds an extended header of {size} bytes")
        data = self._exactly(-(-size // BLOCK) * BLOCK)
        if len(data) < size:
            raise RefusedArchiveError("it ends in the middle of a header")
        self._data_end = self._next_header = self._position
        return data[:size]

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size > 0 and (data := self._source.read(size)):
            parts.append(data)
            size -= len(data)
            self._position += len(data)
        return b"".join(parts)


class Decompressed:
    """Read a stream that may be gzip-compressed; anything else passes as it is.

    Args:
        source: The stream.
        max_bytes: The most that may come out of it.

    Raises:
        RefusedArchiveError: on creation, when it is zstd, xz or bzip2; while reading, when more
            comes out than allowed or the data is damaged.
    """

    _FOREIGN = ((b"\x28\xb5\x2f\xfd", "zstd"), (b"\xfd7zXZ", "xz"), (b"BZh", "bzip2"))

    def __init__(self, source: Readable, *, max_bytes: int) -> None:
        self._source = source
        self._left = max_bytes
        self._input = b""
        while len(self._input) < 6 and (data := source.read(6 - len(self._input))):
            self._input += data
        for magic, name in self._FOREIGN:
            if self._input.startswith(magic):
                raise RefusedArchiveError(f"it is compressed with {name}; only gzip is read")
        self.is_compressed = self._input.startswith(b"\x1f\x8b")
        self._inflate = zlib.decompressobj(wbits=31) if self.is_compressed else None

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; nothing at the end."""
        data = self._inflated(size) if self._inflate is not None else self._plain(size)
        self._left -= len(data)
        if self._left < 0:
            raise RefusedArchiveError("it unpacks to more than is allowed")
        return data

    def _plain(self, size: int) -> bytes:
        if not self._input:
            return self._source.read(size)
        data, self._input = self._input[:size], self._input[size:]
        return data

    def _inflated(self, size: int) -> bytes:
        assert self._inflate is not None
        while True:
            if self._inflate.eof:
                # gzip streams may follow each other; zeros after the last are padding.
                rest = self._inflate.unused_data.lstrip(b"\0") or self._source.read(_CHUNK).lstrip(b"\0")
                if not rest:
                    return b""
                self._inflate, self._input = zlib.decompressobj(wbits=31), rest
            if not self._input:
                self._input = self._source.read(_CHUNK)
                if not self._input:
                    raise RefusedArchiveError("its compressed data ends too early")
            try:
                data = self._inflate.decompress(self._input, size)
            except zlib.error as error:
                raise RefusedArchiveError("its compressed data is damaged") from error
            self._input = self._inflate.unconsumed_tail
            if data:
                return data


def safe_name(name: str, *, rooted: bool = False) -> str:
    """Return a member's name without `./` and trailing `/`; the top folder becomes the empty name.

    Args:
        name: As written in the tar.
        rooted: Allow a leading `/`, which stands for the image's own root in a layer.

    Raises:
        RefusedArchiveError: the name is absolute, leads upwards or holds a NUL.
    """
    if "\0" in name or (name.startswith("/") and not rooted):
        raise RefusedArchiveError(f"it holds the path {name[:200]!r}")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise RefusedArchiveError(f"it holds a path that leads upwards, {name[:200]!r}")
    return "/".join(parts)


def _number(field: bytes) -> int:
    """Read an octal or base-256 field."""
    if field[0] & 0x80:
        if field[0] == 0xFF:
            raise RefusedArchiveError("a header holds a negative number")
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0")
    if digits.strip(b"01234567"):
        raise RefusedArchiveError("a header is damaged, or this is no tar")
    return int(digits, 8) if digits else 0


def _text(field: bytes) -> str:
    return field.partition(b"\0")[0].decode("utf-8", "surrogateescape")


def _pax(data: bytes) -> dict[str, str]:
    """Parse `length key=value\\n` records."""
    found: dict[str, str] = {}
    while data.strip(b"\0"):
        length, space, _ = data.partition(b" ")
        if not space or not length.isdigit() or len(length) > 8 or not 0 < int(length) <= len(data):
            raise RefusedArchiveError("an extended header is damaged")
        record, data = data[len(length) + 1 : int(length)], data[int(length) :]
        key, equals, value = record.partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise RefusedArchiveError("an extended header is damaged")
        found[key.decode("utf-8", "replace")] = value[:-1].decode("utf-8", "surrogateescape")
    return found
