"""MetaImage single files (.mha): `Key = value` lines, then the pixels. Keys and aliases after MetaIO."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError
from evaluator.formats.signature import what_it_is
from evaluator.header import (
    Compression,
    StatedGrid,
    VolumeHeader,
    checked_affine,
    checked_shape,
    checked_spacing,
)

_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
# The last of these that a file holds counts, as in MetaIO.
_OFFSET = ("Position", "Offset", "Origin")
_MATRIX = ("Orientation", "Rotation", "TransformMatrix")
_SPACING = ("ElementSize", "ElementSpacing")
_BIG_ENDIAN = ("ElementByteOrderMSB", "BinaryDataByteOrderMSB")
_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def parse(path: Path, start: bytes, file_bytes: int) -> VolumeHeader:
    """Return the header of a MetaImage file with its pixels inside.

    Args:
        path: The file, for messages.
        start: The first bytes of the file.
        file_bytes: Size of the file on disk.

    Raises:
        CorruptVolumeError: The bytes are no MetaImage header of a 3D scalar volume.
    """
    fields, data_start = _fields(path, start)
    _check(fields, path)
    try:
        sizes = [int(word) for word in fields["DimSize"].split()]
        spacing = checked_spacing(_numbers(fields, _SPACING) or [1.0], path)
        shape, notes = checked_shape(sizes, path)
        lps, has_orientation = _affine(fields, len(sizes), spacing)
        header_bytes = int(fields.get("HeaderSize", "0"))
    except (ValueError, KeyError) as error:
        raise CorruptVolumeError(f"the MetaImage header cannot be read: {error}", where=path) from None
    dtype = np.dtype((">" if _is_true(_last(fields, _BIG_ENDIAN)) else "<") + _DTYPES[fields["ElementType"]])
    compression: Compression = "none"
    if _is_true(fields.get("CompressedData", "")):
        compression = "gzip" if start[data_start : data_start + 2] == b"\x1f\x8b" else "zlib"
    if header_bytes > 0:
        data_start = header_bytes
    elif header_bytes == -1 and compression == "none":
        # The pixels are what the file ends with.
        data_start = max(data_start, file_bytes - int(np.prod(shape, dtype=object)) * dtype.itemsize)
    affine = checked_affine(_RAS @ lps, path)
    return VolumeHeader(
        path=path,
        shape=shape,
        spacing_mm=spacing,
        affine=affine,
        has_orientation=has_orientation,
        dtype=dtype,
        slope=1.0,
        intercept=0.0,
        compression=compression,
        stream_offset=min(data_start, file_bytes),
        data_offset=0,
        file_bytes=file_bytes,
        grids=(StatedGrid("the header", affine),),
        zooms=spacing,
        format="MetaImage",
        notes=notes,
    )


def _check(fields: dict[str, str], path: Path) -> None:
    """Refuse what is no single file of plain numbers."""
    if not _is_true(fields.get("BinaryData", "True")):
        raise CorruptVolumeError("the MetaImage stores its pixels as text", where=path)
    if fields["ElementDataFile"].upper() != "LOCAL":
        raise CorruptVolumeError(
            "the MetaImage keeps its pixels in another file", where=path, mend="Save it as one .mha"
        )
    if fields.get("ElementNumberOfChannels", "1") != "1":
        raise CorruptVolumeError("the MetaImage has more than one channel", where=path)
    if fields.get("ElementType") not in _DTYPES:
        raise CorruptVolumeError(
            f"MetaImage element type {fields.get('ElementType')} is no plain number", where=path
        )


def _fields(path: Path, start: bytes) -> tuple[dict[str, str], int]:
    """Return the header's fields and the file offset of the first byte after it."""
    fields: dict[str, str] = {}
    position = 0
    while True:
        end = start.find(b"\n", position)
        line = start[position:end].decode("latin-1") if end >= 0 else ""
        sign = min((place for place in (line.find("="), line.find(":")) if place > 0), default=0)
        if not sign:
            found = what_it_is(start)
            raise CorruptVolumeError(
                "no MetaImage header at the start of the file"
                + (f": it is {found}" if found and found != "MetaImage" else ""),
                where=path,
            )
        key = line[:sign].strip()
        fields[key] = line[sign + 1 :].strip()
        position = end + 1
        if key == "ElementDataFile":
            return fields, position


def _affine(
    fields: dict[str, str], axes: int, spacing: tuple[float, float, float]
) -> tuple[NDArray[np.float64], bool]:
    """Return voxel index to millimetres in LPS, as ITK has it, and whether the file says where it lies."""
    origin, matrix = _numbers(fields, _OFFSET), _numbers(fields, _MATRIX)
    affine = np.eye(4)
    kept = min(axes, 3)
    if len(matrix) == axes * axes:
        # Each row of the stored matrix is the direction of one voxel axis.
        affine[:kept, :kept] = np.array(matrix).reshape(axes, axes)[:kept, :kept].T
    elif matrix:
        raise ValueError(f"{len(matrix)} numbers in the matrix of {axes} axes")
    affine[:3, :3] *= spacing
    if origin:
        if len(origin) < kept:
            raise ValueError(f"{len(origin)} numbers in the origin of {axes} axes")
        affine[:kept, 3] = origin[:kept]
    return affine, bool(origin)


def _numbers(fields: dict[str, str], names: Sequence[str]) -> list[float]:
    return [float(word) for word in _last(fields, names).split()]


def _last(fields: dict[str, str], names: Sequence[str]) -> str:
    """Return the value under the last of these names that the header holds, or an empty text."""
    return next((fields[name] for name in reversed(names) if name in fields), "")


def _is_true(text: str) -> bool:
    """Return what MetaIO takes for true: a word that begins with T, t or 1."""
    return text[:1] in ("T", "t", "1")
