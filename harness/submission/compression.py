"""Read a stream whatever it is compressed with, in bounded memory and never more than is allowed."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Protocol

from harness.submission.tarstream import Readable, RefusedArchiveError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_CHUNK = 1 << 18
_LONGEST_MAGIC = 6
_XZ_MEMORY_BYTES = 512 << 20
_ZSTD_WINDOW_LOG = 27
"""128 MB: the most that `zstd -d` takes without being asked to take more; `xz -9` needs 65 MB."""


def compression_of(head: bytes) -> str | None:
    """Return what a stream that begins so is compressed with: gzip, bzip2, xz, zstd, or None."""
    for magic, name in ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd")):
        if head.startswith(magic):
            return name
    if head[:3] == b"BZh" and head[3:4].isdigit():
        return "bzip2"
    # A frame to be skipped may come first: pzstd and seekable archives write their index so.
    if head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50:
        return "zstd"
    return None


class Decompressed:
    """Read a stream that may be compressed with gzip, bzip2, xz or zstd; anything else passes as it is.

    Streams that follow each other are read as one, and zeros after the last are padding, as the
    programs of those formats take them.

    Args:
        source: The stream.
        max_bytes: The most that may come out of it.

    Attributes:
        compression: Its format's name, or None.

    Raises:
        RefusedArchiveError: while reading, when more comes out than allowed or the data is damaged.
    """

    def __init__(self, source: Readable, *, max_bytes: int) -> None:
        self._left = max_bytes
        self._buffer, self._at = b"", 0
        head = b""
        while len(head) < _LONGEST_MAGIC and (data := source.read(_LONGEST_MAGIC - len(head))):
            head += data
        whole = _Prefixed(head, source)
        self.compression = compression_of(head)
        self._read: Callable[[int], bytes]
        if self.compression is None:
            self._read = whole.read
        else:
            self._read = _Blocks(whole, self.compression).read

    @property
    def is_compressed(self) -> bool:
        """Whether anything was to be undone."""
        return self.compression is not None

    def read(self, size: int, /) -> bytes:
        """Return up to `size` bytes; nothing at the end."""
        if self._at == len(self._buffer):
            # A tar is read header by header, and a decoder asked for 512 bytes at a time copies its input.
            self._buffer, self._at = self._decoded(max(size, _CHUNK)), 0
        data = self._buffer[self._at : self._at + size]
        self._at += len(data)
        return data

    def _decoded(self, size: int) -> bytes:
        try:
            data = self._read(size)
        except (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError) as error:
            if self.compression is None:
                raise
            raise RefusedArchiveError(
                f"its compressed data is damaged, or needs too much memory ({self.compression}: {error})"
            ) from error
        self._left -= len(data)
        if self._left < 0:
            raise RefusedArchiveError("it unpacks to more than is allowed")
        return data


class _Prefixed:
    """A stream with the bytes in front of it that were looked at already."""

    def __init__(self, head: bytes, source: Readable) -> None:
        self._head = head
        self._source = source

    def read(self, size: int, /) -> bytes:
        if not self._head:
            return self._source.read(size)
        data, self._head = self._head[:size], self._head[size:]
        return data


class _Decoder(Protocol):
    """What bz2, lzma and zstd give: at most `max_length` bytes come out, the rest of the input is kept."""

    @property
    def eof(self) -> bool:
        """Whether the stream came to its end."""

    @property
    def unused_data(self) -> bytes:
        """What follows its end."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing comes out without more input."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Decompress some more."""


class _Gzip:
    """zlib's decoder in the form of the others."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inflate.eof and not self._inflate.unconsumed_tail

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _ZSTD_WINDOW_LOG}
_DECODERS: dict[str, Callable[[], _Decoder]] = {
    "gzip": _Gzip,
    "bzip2": bz2.BZ2Decompressor,
    "zstd": lambda: zstd.ZstdDecompressor(options=_ZSTD_OPTIONS),
    "xz": lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES),
}


class _Blocks:
    """Compressed streams, one after the other; what follows the last one and is none is left out."""

    def __init__(self, source: Readable, compression: str) -> None:
        self._source = source
        self._compression = compression
        self._make = _DECODERS[compression]
        self._decoder = self._make()

    def read(self, size: int, /) -> bytes:
        while True:
            rest = b""
            if self._decoder.eof:
                rest = self._decoder.unused_data.lstrip(b"\0")
                while len(rest) < _LONGEST_MAGIC and (more := self._source.read(_CHUNK)):
                    rest = (rest + more).lstrip(b"\0")
                if compression_of(rest) != self._compression:
                    return b""
                self._decoder = self._make()
            elif self._decoder.needs_input:
                rest = self._source.read(_CHUNK)
                if not rest:
                    raise RefusedArchiveError(
                        "it is cut short: its compressed data ends too early",
                        mend="Copy or download it again, and compare its size or SHA-256.",
                    )
            if data := self._decoder.decompress(rest, size):
                return data
