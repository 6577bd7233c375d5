"""The common kind of CT file read and written at the speed of its compression.

Plain means: one file, NIfTI-1, gzip, little endian, three dimensions, int16, no scaling. Anything else is
left to SimpleITK, which also has the last word on geometry; here only voxels are moved.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from isal import igzip, igzip_threaded, isal_zlib

from segkit.errors import ImageError

_HEADER_BYTES = 348
_DATA_OFFSET = 352
_INT16, _UINT8 = 4, 2


@dataclass(frozen=True)
class PlainFile:
    """A plain CT.

    Attributes:
        array: int16, shape (z, y, x) as stored.
        header: The 348 bytes of the header.
    """

    array: np.ndarray
    header: bytes


def read_plain(path: Path) -> PlainFile | None:
    """Read a plain CT; None where the file is of another kind or damaged; `check_whole` then tells."""
    if not path.name.endswith(".nii.gz"):
        return None
    try:
        with igzip.open(path, "rb") as file:
            header = file.read(_HEADER_BYTES)
            shape = _plain_shape(header)
            if shape is None:
                return None
            offset = int(struct.unpack_from("<f", header, 108)[0])
            file.read(offset - _HEADER_BYTES)
            array = np.empty(shape, dtype="<i2")
            rest = memoryview(array).cast("B")
            while rest:
                count = file.readinto(rest[: 1 << 24])
                if not count:
                    return None
                rest = rest[count:]
            # Reading to the end checks the stream's checksum.
            while file.read(1 << 16):
                pass
    except (OSError, EOFError, MemoryError, ValueError, zlib.error, gzip.BadGzipFile, isal_zlib.error):
        return None
    return PlainFile(array, header)


def check_whole(path: Path) -> None:
    """Read a gzip stream to its checksum. ITK does not, and makes up the voxels that were torn off.

    Args:
        path: Any file; only .gz files are looked into.

    Raises:
        ImageError: The file is torn, damaged, or cannot be read.
    """
    if not path.name.endswith(".gz"):
        return
    try:
        with igzip.open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    except (OSError, EOFError, zlib.error, isal_zlib.error) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ImageError(f"{path}: cannot be read as an image ({reason}). Is it there, and whole?") from error


def write_labels(path: Path, labels: np.ndarray, header: bytes) -> None:
    """Write labels with the geometry of a plain CT, which stays as it is bit by bit.

    Args:
        path: Where to.
        labels: uint8 (z, y, x) in stored order; any strides.
        header: The CT's header.

    Raises:
        OSError: The file cannot be written.
    """
    changed = bytearray(header)
    struct.pack_into("<hh", changed, 70, _UINT8, 8)  # datatype, bitpix
    struct.pack_into("<fff", changed, 108, _DATA_OFFSET, 1.0, 0.0)  # vox_offset, scl_slope, scl_inter
    struct.pack_into("<ff", changed, 124, 0.0, 0.0)  # cal_max, cal_min: the window of a CT
    # The compressor has a thread of its own, so that it works while the next slice is put in order.
    with igzip_threaded.open(path, "wb", compresslevel=1, threads=1) as file:
        file.write(bytes(changed) + bytes(_DATA_OFFSET - _HEADER_BYTES))
        for plane in labels:
            file.write(np.ascontiguousarray(plane, dtype=np.uint8).data)


def _plain_shape(header: bytes) -> tuple[int, int, int] | None:
    """The shape (z, y, x) of a plain file by its header, None if it is none."""
    if len(header) < _HEADER_BYTES or header[344:348] != b"n+1\0":
        return None
    size, dimensions = struct.unpack_from("<i", header, 0)[0], struct.unpack_from("<8h", header, 40)
    offset, slope, intercept = struct.unpack_from("<fff", header, 108)
    is_plain = (
        size == _HEADER_BYTES
        and dimensions[0] == 3
        and min(dimensions[1:4]) > 0
        and struct.unpack_from("<hh", header, 70) == (_INT16, 16)
        and _DATA_OFFSET <= offset < 1 << 24
        and (slope == 0 or (slope == 1 and intercept == 0))
    )
    return (dimensions[3], dimensions[2], dimensions[1]) if is_plain else None
