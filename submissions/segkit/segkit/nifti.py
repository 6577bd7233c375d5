"""NIfTI files read and written at the speed of their compression, in memory that the header cannot blow up.

Both versions, both byte orders, gzip or not, every number type with or without scaling. Here only voxels are
moved and headers copied; SimpleITK has the last word on geometry, from a header that it can read.
"""

from __future__ import annotations

import contextlib
import gzip
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from isal import igzip, igzip_threaded, isal_zlib

from segkit.errors import unreadable_image

MOST_VOXELS = 2**31
"""More than any CT has; a header that asks for more is refused."""

LIMIT_HU = 32767.0
AIR_HU = -1024.0

_LENGTHS = {348: 1, 540: 2}
_HEADER_BYTES = {1: 348, 2: 540}
_LAYOUTS = {
    1: {
        "dim": ("8h", 40),
        "datatype": ("h", 70),
        "bitpix": ("h", 72),
        "pixdim": ("8f", 76),
        "vox_offset": ("f", 108),
        "scaling": ("2f", 112),
        "units": ("B", 123),
        "calibration": ("2f", 124),
        "codes": ("2h", 252),
        "quatern": ("6f", 256),
        "srow": ("12f", 280),
    },
    2: {
        "dim": ("8q", 16),
        "datatype": ("h", 12),
        "bitpix": ("h", 14),
        "pixdim": ("8d", 104),
        "vox_offset": ("q", 168),
        "scaling": ("2d", 176),
        "units": ("i", 500),
        "calibration": ("2d", 192),
        "codes": ("2i", 344),
        "quatern": ("6d", 352),
        "srow": ("12d", 400),
    },
}
_DTYPES = {
    2: "u1",
    4: "i2",
    8: "i4",
    16: "f4",
    64: "f8",
    256: "i1",
    512: "u2",
    768: "u4",
    1024: "i8",
    1280: "u8",
}
_UINT8 = 2
_REFUSED = {128: "RGB colours", 2304: "RGBA colours", 1: "single bits"} | dict.fromkeys(
    (32, 1792, 2048), "complex numbers"
)
_LARGEST_OFFSET = 1 << 24
_LARGEST_DEFLATE_RATIO = 1032
_CHUNK_VOXELS = 1 << 20
_DAMAGES = (OSError, EOFError, ValueError, zlib.error, gzip.BadGzipFile, isal_zlib.error)


@dataclass(frozen=True)
class Header:
    """A NIfTI header, as stored.

    Attributes:
        stored: Its 348 or 540 bytes.
        version: 1 or 2.
        order: `<` or `>`.
        shape: Voxels along z, y, x; of a series those of the first volume, axes of length 1 dropped from the
            front where there are more than three.
        dtype: The stored number type.
        slope: Factor to Hounsfield units.
        intercept: Offset to Hounsfield units.
        offset: Where the voxels begin.
    """

    stored: bytes
    version: int
    order: str
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    offset: int

    def field(self, name: str) -> tuple[Any, ...]:
        """The numbers of a field."""
        layout, offset = _LAYOUTS[self.version][name]
        return struct.unpack_from(self.order + layout, self.stored, offset)

    @property
    def is_scaled(self) -> bool:
        """Whether stored numbers are not yet Hounsfield units."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    @property
    def needs_translation(self) -> bool:
        """Whether ITK would stumble over the header, or read another shape from it."""
        return self.version == 2 or self.field("dim")[0] != 3 or self._usable_codes() != self.field("codes")

    @property
    def plain_spacing(self) -> tuple[float, float, float]:
        """The voxel size along x, y, z in the header's numbers, whatever their unit; 1 where it has none."""
        sizes = [abs(size) if math.isfinite(size) and size else 1.0 for size in self.field("pixdim")[1:4]]
        return sizes[0], sizes[1], sizes[2]

    def translated(self) -> bytes:
        """A NIfTI-1 header of three axes with the same geometry, for ITK; no voxels follow."""
        z, y, x = self.shape
        translated = bytearray(352)
        struct.pack_into("<i", translated, 0, 348)
        _put(translated, 1, "<", dim=(3, x, y, z, 1, 1, 1, 1), datatype=(_UINT8,), bitpix=(8,))
        _put(translated, 1, "<", vox_offset=(352,), scaling=(1.0, 0.0))
        with contextlib.suppress(OverflowError):  # a double that no float holds says nothing
            _put(translated, 1, "<", pixdim=self.field("pixdim"), units=(self.field("units")[0] & 63,))
            _put(translated, 1, "<", quatern=self.field("quatern"), srow=self.field("srow"))
            _put(translated, 1, "<", codes=self._usable_codes())
        translated[344:348] = b"n+1\0"
        return bytes(translated)

    def for_labels(self) -> bytes:
        """The header of labels on the same grid, up to the first voxel."""
        size = _HEADER_BYTES[self.version]
        changed = bytearray(self.stored)
        z, y, x = self.shape
        if self.field("dim")[0] > 3:
            _put(changed, self.version, self.order, dim=(3, x, y, z, 1, 1, 1, 1))
        _put(changed, self.version, self.order, datatype=(_UINT8,), bitpix=(8,), vox_offset=(size + 4,))
        # The calibration is the window of a CT.
        _put(changed, self.version, self.order, scaling=(1.0, 0.0), calibration=(0.0, 0.0))
        return bytes(changed) + bytes(4)

    def _usable_codes(self) -> tuple[int, int]:
        """The codes of qform and sform, 0 for one whose numbers are no transform."""
        qform, sform = self.field("codes")
        columns = np.array(self.field("srow"), dtype=float).reshape(3, 4)
        if not np.isfinite(columns).all() or np.linalg.det(columns[:, :3]) == 0:
            sform = 0
        if not np.isfinite(self.field("quatern")).all():
            qform = 0
        return qform, sform


def read_hu(path: Path) -> tuple[np.ndarray, Header] | None:
    """Read a CT.

    Args:
        path: Any file.

    Returns:
        Hounsfield units, int16 where the file stores small integers, else float32 and finite, shape (z, y, x)
        as stored, and the header; None where the file is no NIfTI file.

    Raises:
        ImageError: It is one, and damaged, torn, or of no plain numbers.
    """
    with _opened(path) as (file, header):
        if header is None:
            return None
        small = header.dtype in (np.dtype("i1"), np.dtype("u1")) or header.dtype.newbyteorder("=") == np.int16
        if small and not header.is_scaled:
            if header.dtype == np.int16:
                return _whole(file, header), header
            array = np.empty(header.shape, np.int16)
            for place, voxels in _chunks(file, header):
                array.reshape(-1)[place] = voxels
            return array, header
        array = np.empty(header.shape, np.float32)
        for place, voxels in _chunks(file, header):
            scaled = (
                voxels.astype(np.float64) * header.slope + header.intercept if header.is_scaled else voxels
            )
            array.reshape(-1)[place] = finite_hu(scaled)
        return array, header


def read_stored(path: Path) -> tuple[np.ndarray, Header] | None:
    """Read the numbers of a file, scaled where its header says so, and otherwise of the type that it stores.

    Returns and raises as `read_hu` does.
    """
    with _opened(path) as (file, header):
        if header is None:
            return None
        array = _whole(file, header)
        if header.is_scaled:
            array = array * np.float64(header.slope) + header.intercept
        return array.astype(array.dtype.newbyteorder("="), copy=False), header


def finite_hu(values: np.ndarray) -> np.ndarray:
    """Hounsfield units as float32, bounded; what is not finite becomes air, but plus infinity the bound."""
    cleaned = np.nan_to_num(values, nan=AIR_HU, posinf=LIMIT_HU, neginf=AIR_HU)
    return np.clip(cleaned, -LIMIT_HU, LIMIT_HU).astype(np.float32)


def check_whole(path: Path) -> None:
    """Read a gzip stream to its checksum. ITK does not, and makes up the voxels that were torn off.

    Args:
        path: Any file; only .gz files are looked into.

    Raises:
        ImageError: The file is torn, damaged, or cannot be read.
    """
    if not path.name.lower().endswith(".gz"):
        return
    try:
        with igzip.open(path, "rb") as file:
            while file.read(1 << 20):
                pass
    except _DAMAGES as error:
        raise unreadable_image(path, str(error) or type(error).__name__) from error


def write_labels(path: Path, labels: np.ndarray, header: Header) -> None:
    """Write labels with the geometry of a CT, which stays as it is bit by bit.

    Args:
        path: Where to.
        labels: uint8 (z, y, x) in stored order; any strides.
        header: The CT's header.

    Raises:
        OSError: The file cannot be written.
    """
    # The compressor has a thread of its own, so that it works while the next slice is put in order.
    with igzip_threaded.open(path, "wb", compresslevel=1, threads=1) as file:
        file.write(header.for_labels())
        for plane in labels:
            file.write(np.ascontiguousarray(plane, dtype=np.uint8).data)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Header | None]]:
    """Give a file unpacked, behind its header, and that one; whatever goes wrong inside is an ImageError."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with igzip.open(path, "rb") if packed else path.open("rb") as file:
            header = _header(path, file, packed)
            yield file, header
            if header is not None:
                # Reading to the end checks the stream's checksum.
                while packed and file.read(1 << 20):
                    pass
    except _DAMAGES as error:
        raise unreadable_image(path, str(error) or type(error).__name__) from error
    except MemoryError as error:
        raise unreadable_image(path, "there is not enough memory") from error


def _header(path: Path, file: BinaryIO, packed: bool) -> Header | None:
    """The header that a stream begins with, if it does; the stream is left at the first voxel."""
    stored = file.read(_HEADER_BYTES[1])
    length = next((n for n in (stored[:4], stored[3::-1]) if int.from_bytes(n, "little") in _LENGTHS), b"")
    if len(stored) < _HEADER_BYTES[1] or not length:
        return None
    order, version = "<" if length == stored[:4] else ">", _LENGTHS[int.from_bytes(length, "little")]
    stored += file.read(_HEADER_BYTES[version] - len(stored))
    if len(stored) < _HEADER_BYTES[version]:
        raise EOFError("the header is torn")
    if (stored[344:347] if version == 1 else stored[4:7]) not in (b"n+1", b"n+2"):
        raise ValueError("its voxels are in another file")
    header = _understood(stored, version, order)
    needed = header.offset + math.prod(header.shape) * header.dtype.itemsize
    held = path.stat().st_size * (_LARGEST_DEFLATE_RATIO if packed else 1)
    if math.prod(header.shape) > MOST_VOXELS:
        raise ValueError(f"its header asks for {' x '.join(map(str, header.shape))} voxels")
    if needed > held:
        raise EOFError("the file is shorter than its header says")
    file.read(header.offset - len(stored))
    return header


def _understood(stored: bytes, version: int, order: str) -> Header:
    def field(name: str) -> tuple[Any, ...]:
        layout, offset = _LAYOUTS[version][name]
        return struct.unpack_from(order + layout, stored, offset)

    (code,), (offset,), dim = field("datatype"), field("vox_offset"), field("dim")
    if code not in _DTYPES:
        raise ValueError(f"it holds {_REFUSED.get(code, f'data type {code}')}, not Hounsfield units")
    first = _HEADER_BYTES[version] + 4
    if not first <= (offset or first) < _LARGEST_OFFSET:
        raise ValueError(f"its header puts the voxels at byte {offset:g}")
    if not 1 <= dim[0] <= 7 or dim[1] < 1:
        raise ValueError(f"its header gives {dim[0]} axes, the first of {dim[1]} voxels")
    # nifti1_io.c takes a size below 1 for 1, except the first.
    sizes = [dim[1], *(max(size, 1) for size in dim[2 : dim[0] + 1])]
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    while len(sizes) > 3 and sizes[0] == 1:
        sizes.pop(0)
    x, y, z = (*sizes, 1, 1)[:3]
    slope, intercept = field("scaling")
    if slope == 0 or not math.isfinite(slope):
        slope, intercept = 1.0, 0.0
    intercept = intercept if math.isfinite(intercept) else 0.0
    dtype = np.dtype(order + _DTYPES[code])
    return Header(stored, version, order, (z, y, x), dtype, slope, intercept, int(offset or first))


def _whole(file: BinaryIO, header: Header) -> np.ndarray:
    array = np.empty(header.shape, dtype=header.dtype)
    rest = array.reshape(-1).view(np.uint8).data
    while rest:
        count = file.readinto(rest[: 1 << 24])  # type: ignore[attr-defined]
        if not count:
            raise EOFError("the file is shorter than its header says")
        rest = rest[count:]
    return array


def _chunks(file: BinaryIO, header: Header) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield pieces of the voxels as stored, and where they belong."""
    count = math.prod(header.shape)
    for first in range(0, count, _CHUNK_VOXELS):
        place = slice(first, min(first + _CHUNK_VOXELS, count))
        wanted = (place.stop - first) * header.dtype.itemsize
        content = b""
        while len(content) < wanted and (more := file.read(wanted - len(content))):
            content += more
        if len(content) < wanted:
            raise EOFError("the file is shorter than its header says")
        yield place, np.frombuffer(content, header.dtype)


def _put(header: bytearray, version: int, order: str, **fields: tuple[Any, ...]) -> None:
    for name, values in fields.items():
        layout, offset = _LAYOUTS[version][name]
        struct.pack_into(order + layout, header, offset, *values)
