"""Getting a file's pixels into memory: as fast as the packing allows, and never more than announced."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError, VolumeTooLargeError
from evaluator.header import VolumeHeader, open_regular

PIECE_BYTES = 1 << 20
"""How much of a stream is in memory at a time where it is not read at once."""

LARGEST_WHOLE_BYTES = 2**30
"""A stream that is not kept is unpacked at once up to this length, and in pieces beyond."""

_LARGEST_DEFLATE_RATIO = 1032
_SMALLEST_BITE = 512


def check_size(header: VolumeHeader, *, needed_bytes: int, max_bytes: int) -> None:
    """Refuse a volume whose reading would need more than `max_bytes`, or whose file cannot hold it.

    Nothing but the header is needed, so nothing is allocated for a file that lies.

    Args:
        header: The volume's header.
        needed_bytes: The least that the caller will allocate.
        max_bytes: The limit on it.

    Raises:
        VolumeTooLargeError: The limit does not suffice.
        CorruptVolumeError: The file is too short for the shape it announces.
    """
    packed_bytes = header.file_bytes - header.stream_offset
    if needed_bytes > max_bytes:
        shape = "x".join(map(str, header.shape))
        raise VolumeTooLargeError(
            f"reading {shape} voxels of {header.dtype.name} needs {needed_bytes / 2**20:.0f} MiB,"
            f" {max_bytes / 2**20:.0f} MiB are allowed",
            where=header.path,
            mend="Check the header, or raise the limit",
        )
    most = packed_bytes if header.compression == "none" else packed_bytes * _LARGEST_DEFLATE_RATIO
    if header.stream_bytes > most:
        raise _truncated(header)


def read_stream(header: VolumeHeader, buffer: NDArray[np.uint8]) -> None:
    """Fill `buffer` with the decompressed stream, from its beginning to the last voxel.

    Args:
        header: The volume's header.
        buffer: Exactly `header.stream_bytes` long.

    Raises:
        CorruptVolumeError: The stream is shorter or longer than announced, or damaged.
    """
    with open_regular(header.path) as file:
        file.seek(header.stream_offset)
        if header.compression == "none":
            if file.readinto(buffer.data) != len(buffer):  # type: ignore[attr-defined]
                raise _truncated(header)
            return
        if _inflate_at_once(header, file, buffer):
            return
    filled = 0
    for piece in read_pieces(header):
        buffer[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)


def read_pieces(header: VolumeHeader) -> Iterator[bytes]:
    """Yield the decompressed stream, from its beginning to the last voxel, `PIECE_BYTES` at most at a time.

    Slower than `read_stream`, but in a fixed amount of memory.

    Raises:
        CorruptVolumeError: The stream is shorter or longer than announced, or damaged.
    """
    left = header.stream_bytes
    with open_regular(header.path) as file:
        file.seek(header.stream_offset)
        if header.compression == "none":
            while left and (piece := file.read(min(PIECE_BYTES, left))):
                left -= len(piece)
                yield piece
            if left:
                raise _truncated(header)
            return
        parts = GzipParts(file) if header.compression == "gzip" else GzipParts(file, wbits=15)
        try:
            # One byte more than is missing, so that a stream that is too long shows itself.
            while piece := parts.read(min(PIECE_BYTES, left + 1)):
                if len(piece) > left:
                    raise CorruptVolumeError(
                        "the file holds more data than its header announces",
                        where=header.path,
                        mend="Header and pixels disagree; write the file again",
                    )
                left -= len(piece)
                yield piece
        except zlib.error as error:
            raise CorruptVolumeError(
                f"the compressed stream is damaged: {error}", where=header.path
            ) from error
        if left or not parts.ended:
            raise _truncated(header)


def read_to_the_end(header: VolumeHeader) -> None:
    """Read and unpack a file to its last voxel and its checksum, and keep nothing.

    Raises:
        CorruptVolumeError: The stream is shorter or longer than announced, or damaged.
    """
    if header.stream_bytes <= LARGEST_WHOLE_BYTES:
        check_size(header, needed_bytes=0, max_bytes=0)
        read_stream(header, np.empty(header.stream_bytes, np.uint8))
        return
    for _ in read_pieces(header):
        pass


def _inflate_at_once(header: VolumeHeader, file: BinaryIO, buffer: NDArray[np.uint8]) -> bool:
    """Inflate a stream of one part with libdeflate, several times faster than zlib; False if it is not one.

    libdeflate never writes past the buffer, so a bomb ends here as quickly as any other damaged file.
    """
    import imagecodecs  # costs a third of this package's import time

    packed = file.read()
    if header.compression == "gzip":
        # A gzip part ends in the length it unpacks to: a stream of several parts shows here.
        if len(packed) < 18 or int.from_bytes(packed[-4:], "little") != len(buffer) % 2**32:
            return False
        decode: Any = imagecodecs.gzip_decode
    else:
        decode = imagecodecs.deflate_decode
    try:
        return len(decode(packed, out=buffer)) == len(buffer)
    except (imagecodecs.DeflateError, ValueError):
        return False


class GzipParts:
    """Inflates concatenated gzip parts, or one zlib stream, in time linear in their number and length.

    zlib hands back what it did not use as a copy, so a part is fed bites that grow with it: a stream of parts
    of some bytes each would else be copied once per part.

    Attributes:
        ended: Whether the last part was whole.
    """

    def __init__(self, file: BinaryIO, *, wbits: int = 31) -> None:
        self.ended = False
        self._file = file
        self._wbits = wbits
        self._packed = memoryview(b"")
        self._inflater = zlib.decompressobj(wbits=wbits)
        self._bite = _SMALLEST_BITE

    def read(self, most_bytes: int) -> bytes:
        """Return the next bytes of the stream; none at its end.

        Raises:
            zlib.error: It is damaged.
        """
        while True:
            if self.ended and not self._next_part():
                return b""
            if not self._packed and not self._fill():
                return b""
            offered = self._packed[: self._bite]
            piece = self._inflater.decompress(offered, most_bytes)
            self.ended = self._inflater.eof
            kept = self._inflater.unused_data if self.ended else self._inflater.unconsumed_tail
            self._packed = self._packed[len(offered) - len(kept) :]
            self._bite = min(2 * self._bite, PIECE_BYTES)
            if piece:
                return piece

    def _next_part(self) -> bool:
        """Begin the next part; False if what follows is none."""
        while len(self._packed) < 2 and self._fill():
            pass
        if self._wbits == 15 or bytes(self._packed[:2]) != b"\x1f\x8b":
            return False
        self._inflater = zlib.decompressobj(wbits=self._wbits)
        self._bite = _SMALLEST_BITE
        self.ended = False
        return True

    def _fill(self) -> bool:
        """Read more of the file; False at its end."""
        more = self._file.read(PIECE_BYTES)
        self._packed = memoryview(bytes(self._packed) + more)
        return bool(more)


def _truncated(header: VolumeHeader) -> CorruptVolumeError:
    shape = "x".join(map(str, header.shape))
    return CorruptVolumeError(
        f"the file ends before its {shape} voxels of {header.dtype.name} do",
        where=header.path,
        mend="It is truncated or its header is wrong; write it again",
    )
