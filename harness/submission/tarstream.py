"""Read a stranger's tar: one pass, nothing unpacked, and no header believed further than it must be.

The standard library's reader keeps extended headers of any length in memory, accepts sparse files
and remembers every member. An archive from outside may be made to hurt by each of these.
"""

from __future__ import annotations

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
_LONGEST_NUMBER = 18
Kind = Literal["file", "folder", "symlink", "hardlink", "device", "fifo"]
_KINDS: dict[bytes, Kind] = {
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

    def __init__(self, what: str, *, where: object = "", mend: str = "") -> None:
        super().__init__(
            f"the image archive is refused: {what}",
            where=where,
            mend=mend or "Make it with `docker save NAME:TAG`.",
        )

    def add_where(self, where: object) -> None:
        """Say which archive is meant, where that is not said yet."""
        if not self.where:
            self.where = str(where)
            self.args = (self.one_line(),)


class CutShortError(RefusedArchiveError):
    """An archive ends where it cannot: a copy or a download was interrupted."""

    def __init__(self, within: str) -> None:
        super().__init__(
            f"it is cut short: it ends in the middle of {within}",
            mend="Copy or download it again, and compare its size or SHA-256.",
        )


@dataclass(frozen=True)
class Member:
    """One entry of a tar.

    Attributes:
        name: As written; see `safe_name`.
        target: Of a link, as written.
        mtime_s: Seconds since 1970, whole; 0 where the header has no sensible time.
        offset: Where its bytes begin in the tar.
    """

    name: str
    kind: Kind
    size: int
    target: str
    mode: int
    offset: int
    uid: int = 0
    gid: int = 0
    mtime_s: int = 0


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
        self.count = 0
        self.is_whole = False
        """Whether the tar's end mark was seen: a writer that was interrupted leaves none."""

    def __iter__(self) -> Iterator[Member]:
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
            self.count += 1
            if self.count > self._max_members:
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
            raise CutShortError("a file")
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
        size = _override(overrides, "size", size)
        name = overrides.get("path", f"{prefix}/{name}" if prefix else name)
        target = overrides.get("linkpath", _text(header[157:257]))
        if header[156:157] == b"\0" and name.endswith("/"):  # how tars of before 1988 write folders
            if size:
                raise RefusedArchiveError(f"it holds a folder with bytes of its own, {name[:200]!r}")
            kind = "folder"
        if kind != "file":
            size = 0
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
            uid=_override(overrides, "uid", _number(header[108:116])),
            gid=_override(overrides, "gid", _number(header[116:124])),
            mtime_s=_time(overrides, header[136:148]),
        )

    def _header(self) -> bytes | None:
        """Skip what is left of the current member and return the next header; None at the end."""
        while (left := self._next_header - self._position) > 0:
            skipped = self._source.read(min(left, _CHUNK))
            if not skipped:
                raise CutShortError("a file")
            self._position += len(skipped)
        header = self._exactly(BLOCK)
        if not header.strip(b"\0"):
            self.is_whole = bool(header)
            return None
        if len(header) < BLOCK:
            raise CutShortError("a header")
        unsigned = sum(header[:148]) + sum(b" " * 8) + sum(header[156:])
        if _number(header[148:156]) != unsigned:
            raise RefusedArchiveError("a header is damaged, or this is no tar")
        self._data_end = self._next_header = self._position
        return header

    def _extension(self, size: int) -> bytes:
        if size > LONGEST_EXTENSION_BYTES:
            raise RefusedArchiveError(f"it holds an extended header of {size} bytes")
        data = self._exactly(-(-size // BLOCK) * BLOCK)
        if len(data) < size:
            raise CutShortError("a header")
        self._data_end = self._next_header = self._position
        return data[:size]

    def _exactly(self, size: int) -> bytes:
        parts = []
        while size > 0 and (data := self._source.read(size)):
            parts.append(data)
            size -= len(data)
            self._position += len(data)
        return b"".join(parts)


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


def _override(overrides: dict[str, str], key: str, value: int) -> int:
    """Return what an extended header says of a number, or else the header's own value."""
    text = overrides.get(key)
    if text is None:
        return value
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER):
        raise RefusedArchiveError(f"an extended header's {key} is no number")
    return int(text)


def _time(overrides: dict[str, str], field: bytes) -> int:
    """Return whole seconds: programs compare them (Python its bytecode's), fractions nobody does."""
    whole = overrides.get("mtime", "").partition(".")[0]
    if whole.isascii() and whole.isdigit() and len(whole) <= _LONGEST_NUMBER:
        return int(whole)
    return 0 if field[0] == 0xFF else min(_number(field), 1 << 40)


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
        name, text = key.decode("utf-8", "replace"), value[:-1].decode("utf-8", "surrogateescape")
        found.pop(name, None)
        if text:  # an empty value takes back what was said before
            found[name] = text
    return found
