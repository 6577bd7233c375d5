"""Where the fields of a NIfTI header lie, of both versions: the one home of these byte offsets.

After the definitions in nifti1.h and nifti2.h of the NIfTI Data Format Working Group.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

HEADER_BYTES = {1: 348, 2: 540}
"""Length of the header by version; four bytes that announce extensions follow."""

LONGEST_HEADER = HEADER_BYTES[2]

_MAGIC = {1: b"n+1\0", 2: b"n+2\0\r\n\x1a\n"}

_LAYOUTS: dict[int, dict[str, tuple[str, int]]] = {
    1: {
        "dim": ("8h", 40),
        "datatype": ("h", 70),
        "bitpix": ("h", 72),
        "pixdim": ("8f", 76),
        "vox_offset": ("f", 108),
        "slope": ("f", 112),
        "intercept": ("f", 116),
        "units": ("B", 123),
        "calibration": ("2f", 124),
        "qform_code": ("h", 252),
        "sform_code": ("h", 254),
        "quatern": ("6f", 256),
        "srow": ("12f", 280),
        "magic": ("4s", 344),
    },
    2: {
        "magic": ("8s", 4),
        "datatype": ("h", 12),
        "bitpix": ("h", 14),
        "dim": ("8q", 16),
        "pixdim": ("8d", 104),
        "vox_offset": ("q", 168),
        "slope": ("d", 176),
        "intercept": ("d", 184),
        "calibration": ("2d", 192),
        "qform_code": ("i", 344),
        "sform_code": ("i", 348),
        "quatern": ("6d", 352),
        "srow": ("12d", 400),
        "units": ("i", 500),
    },
}

TEXTS = {
    1: ((4, 10), (14, 18), (148, 80), (228, 24), (328, 16)),
    2: ((240, 80), (320, 24), (508, 16), (525, 15)),
}
"""Offset and length of the free texts by version: data_type, db_name, descrip, aux_file, intent_name;
descrip, aux_file, intent_name, unused_str."""


@dataclass(frozen=True)
class NiftiFields:
    """A NIfTI header's fields, as stored.

    Attributes:
        version: 1 or 2.
        order: `<` or `>`, the byte order of header and pixels.
        dim: Number of axes, then their lengths.
        datatype: Code of the stored number type.
        pixdim: qfac, then the voxel size along each axis.
        vox_offset: Where the pixels begin.
        slope: Factor to real values; 0 for none.
        intercept: Offset to real values.
        units: Code of the units of space (lower three bits) and time.
        qform_code: Above 0 if the qform is set.
        sform_code: Above 0 if the sform is set.
        quatern: quatern_b, c, d and qoffset_x, y, z.
        srow: The sform, three rows of four.
        magic: Says whether the pixels are in this file.
    """

    version: int
    order: str
    dim: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    vox_offset: float
    slope: float
    intercept: float
    units: int
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    srow: tuple[float, ...]
    magic: bytes


def read_fields(start: bytes | bytearray) -> NiftiFields | None:
    """Return the fields of a header, or `None` if the bytes begin with none.

    Args:
        start: At least the first `LONGEST_HEADER` bytes of the decompressed stream, if it has so many.
    """
    for order in "<>":
        for version, length in HEADER_BYTES.items():
            if len(start) >= length and struct.unpack_from(order + "i", start)[0] == length:
                return NiftiFields(version, order, **_unpacked(start, version, order))
    return None


def _unpacked(start: bytes | bytearray, version: int, order: str) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, (layout, offset) in _LAYOUTS[version].items():
        if name in NiftiFields.__dataclass_fields__:
            values = struct.unpack_from(order + layout, start, offset)
            fields[name] = values if name in ("dim", "pixdim", "quatern", "srow") else values[0]
    return fields


def write_fields(header: bytearray, version: int, order: str = "<", **values: Any) -> None:
    """Overwrite fields of a header in place.

    Args:
        header: At least as long as the version's header.
        version: 1 or 2.
        order: `<` or `>`.
        values: Field names of `NiftiFields`, also `bitpix` and `calibration`; a tuple where there are more.
    """
    for name, value in values.items():
        layout, offset = _LAYOUTS[version][name]
        struct.pack_into(order + layout, header, offset, *(value if isinstance(value, tuple) else (value,)))


def new_header(version: int = 1, order: str = "<", **values: Any) -> bytearray:
    """Return a header with these fields and no text, followed by four zeros: there are no extensions."""
    length = HEADER_BYTES[version]
    header = bytearray(length + 4)
    struct.pack_into(order + "i", header, 0, length)
    write_fields(header, version, order, magic=_MAGIC[version], vox_offset=length + 4, **values)
    return header
