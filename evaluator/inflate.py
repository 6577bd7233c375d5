"""Getting a file's pixels into memory: as fast as the packing allows, and never more than announced."""

from __future__ import annotations

import zlib
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError, VolumeTooLargeError
from evaluator.header import VolumeHeader, open_regular

_CHUNK_BYTES = 1 << 20
_LARGEST_DEFLATE_RATIO = 1032


def check_size(header: VolumeHeader, *, extra_bytes: int, max_bytes: int) -> None:
    """Refuse a volume whose reading would need more than `max_bytes`, or whose file cannot hold it.

    Nothing but the header is needed, so nothing is allocated for a file that lies.

    Args:
        header: The volume's header.
        extra_bytes: What the caller will allocate besides the decompressed stream.
        max_bytes: The limit on everything together.

    Raises:
        VolumeTooLargeError: The limit does not suffice.
        CorruptVolumeError: The file is too short for the shape it announces.
    """
    packed_bytes = header.file_bytes - header.stream_offset
    held = packed_bytes if header.compression != "none" else 0
    needed = header.stream_bytes + held + extra_bytes
    if needed > max_bytes:
        shape = "x".join(map(str, header.shape))
        raise VolumeTooLargeError(
            f"reading {shape} voxels of {header.dtype.name} needs {needed / 2**20:.0f} MiB,"
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
        if not _inflate_at_once(header, file, buffer):
            file.seek(header.stream_offset)
            _inflate_in_pieces(header, file, buffer)


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


def _inflate_in_pieces(header: VolumeHeader, file: BinaryIO, buffer: NDArray[np.uint8]) -> None:
    """Inflate with zlib, part after part: slow, but it takes concatenated parts and says what is wrong."""
    window_bits = 31 if header.compression == "gzip" else 15
    view = buffer.data
    filled = 0
    inflater = zlib.decompressobj(wbits=window_bits)
    packed = b""
    while True:
        packed = packed or file.read(_CHUNK_BYTES)
        if not packed:
            break
        try:
            # One byte more than is missing, so that a stream that is too long shows itself.
            piece = inflater.decompress(packed, min(_CHUNK_BYTES, len(buffer) - filled + 1))
        except zlib.error as error:
            raise CorruptVolumeError(
                f"the compressed stream is damaged: {error}", where=header.path
            ) from error
        if filled + len(piece) > len(buffer):
            raise CorruptVolumeError(
                "the file holds more data than its header announces",
                where=header.path,
                mend="Header and pixels disagree; write the file again",
            )
        view[filled : filled + len(piece)] = piece
        filled += len(piece)
        packed = inflater.unconsumed_tail
        if inflater.eof:
            packed = inflater.unused_data or file.read(_CHUNK_BYTES)
            if window_bits == 15 or packed[:2] != b"\x1f\x8b":
                break
            inflater = zlib.decompressobj(wbits=window_bits)
    if filled < len(buffer) or not inflater.eof:
        raise _truncated(header)


def _truncated(header: VolumeHeader) -> CorruptVolumeError:
    shape = "x".join(map(str, header.shape))
    return CorruptVolumeError(
        f"the file ends before its {shape} voxels of {header.dtype.name} do",
        where=header.path,
        mend="It is truncated or its header is wrong; write it again",
    )
