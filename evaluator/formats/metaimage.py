"""MetaImage single files (.mha): `Key = value` lines, then the pixels. Keys after ITK's MetaIO."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evaluator.errors import CorruptVolumeError
from evaluator.header import VolumeHeader, checked_affine, checked_shape, checked_spacing

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
    if fields.get("BinaryData", "True").lower() != "true":
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
    big_endian = fields.get("BinaryDataByteOrderMSB", fields.get("ElementByteOrderMSB", "False"))
    try:
        sizes = [int(word) for word in fields["DimSize"].split()]
        axes = len(sizes)
        shape = checked_shape(sizes, path)
        stated = fields.get("ElementSpacing", fields.get("ElementSize", "1 1 1"))
        spacing = checked_spacing([float(word) for word in stated.split()][:3], path)
        matrix = [float(word) for word in fields.get("TransformMatrix", "").split()]
        origin = [float(word) for word in fields.get("Offset", fields.get("Position", "")).split()]
        skipped = int(fields.get("HeaderSize", "0"))
    except (ValueError, KeyError) as error:
        raise CorruptVolumeError(f"the MetaImage header cannot be read: {error}", where=path) from None
    compressed = fields.get("CompressedData", "False").lower() == "true"
    if skipped:
        raise CorruptVolumeError("the MetaImage header moves its pixels (HeaderSize)", where=path)

    lps = np.eye(4)
    if axes >= 3 and len(matrix) == axes * axes:
        # Each row of the stored matrix is the direction of one voxel axis.
        lps[:3, :3] = np.array(matrix).reshape(axes, axes)[:3, :3].T
    lps[:3, :3] *= spacing
    if len(origin) >= 3:
        lps[:3, 3] = origin[:3]
    return VolumeHeader(
        path=path,
        shape=shape,
        spacing_mm=spacing,
        affine=checked_affine(np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps, path),
        has_orientation=len(origin) >= 3,
        dtype=np.dtype((">" if big_endian.lower() == "true" else "<") + _DTYPES[fields["ElementType"]]),
        slope=1.0,
        intercept=0.0,
        compression="zlib" if compressed else "none",
        stream_offset=data_start,
        data_offset=0,
        file_bytes=file_bytes,
    )


def _fields(path: Path, start: bytes) -> tuple[dict[str, str], int]:
    """Return the header's fields and the file offset of the first byte after it."""
    fields: dict[str, str] = {}
    position = 0
    while True:
        end = start.find(b"\n", position)
        if end < 0:
            raise CorruptVolumeError("no MetaImage header at the start of the file", where=path)
        line = start[position:end].decode("latin-1")
        key, equals, value = line.partition("=")
        if not equals:
            raise CorruptVolumeError("no MetaImage header at the start of the file", where=path)
        fields[key.strip()] = value.strip()
        position = end + 1
        if key.strip() == "ElementDataFile":
            return fields, position
