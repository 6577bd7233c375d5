"""NRRD single files (.nrrd): `field: value` lines, an empty line, then the pixels. After the Teem format."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError
from evaluator.header import Compression, VolumeHeader, checked_affine, checked_shape, checked_spacing

_DTYPES = {
    **dict.fromkeys(("signed char", "int8", "int8_t"), "i1"),
    **dict.fromkeys(("uchar", "unsigned char", "uint8", "uint8_t"), "u1"),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), "i2"),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), "u2"),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t"), "i4"),
    **dict.fromkeys(("uint", "unsigned int", "uint32", "uint32_t"), "u4"),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "int64", "int64_t"), "i8"),
    **dict.fromkeys(
        ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"), "u8"
    ),
    "float": "f4",
    "double": "f8",
}
_ENCODINGS: dict[str, Compression] = {"raw": "none", "gzip": "gzip", "gz": "gzip"}
# Signs that turn each axis of a named space into right, anterior, superior.
_SPACES = {
    "right-anterior-superior": (1, 1, 1),
    "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1),
    "las": (-1, 1, 1),
    "left-posterior-superior": (-1, -1, 1),
    "lps": (-1, -1, 1),
}
_VECTOR = re.compile(r"\(([^)]*)\)|none")


def parse(path: Path, start: bytes, file_bytes: int) -> VolumeHeader:
    """Return the header of a NRRD file with its pixels inside.

    Args:
        path: The file, for messages.
        start: The first bytes of the file.
        file_bytes: Size of the file on disk.

    Raises:
        CorruptVolumeError: The bytes are no NRRD header of a 3D scalar volume.
    """
    fields, data_start = _fields(path, start)
    if "data file" in fields or "datafile" in fields:
        raise CorruptVolumeError(
            "the NRRD keeps its pixels in another file", where=path, mend="Save it as one .nrrd"
        )
    kind = fields.get("type", "").lower()
    if kind not in _DTYPES:
        raise CorruptVolumeError(f"NRRD type {kind!r} is no plain number", where=path)
    encoding = fields.get("encoding", "").lower()
    if encoding not in _ENCODINGS:
        raise CorruptVolumeError(
            f"NRRD encoding {encoding!r} is not read", where=path, mend="Use raw or gzip"
        )
    if any(int(fields.get(skip, "0") or 0) for skip in ("line skip", "lineskip", "byte skip", "byteskip")):
        raise CorruptVolumeError("the NRRD header moves its pixels (line or byte skip)", where=path)
    try:
        shape = checked_shape([int(word) for word in fields["sizes"].split()], path)
        affine, spacing, has_orientation = _geometry(fields, path)
    except (ValueError, KeyError) as error:
        raise CorruptVolumeError(f"the NRRD header cannot be read: {error}", where=path) from None
    order = fields.get("endian", sys.byteorder).lower()
    return VolumeHeader(
        path=path,
        shape=shape,
        spacing_mm=spacing,
        affine=checked_affine(affine, path),
        has_orientation=has_orientation,
        dtype=np.dtype((">" if order == "big" else "<") + _DTYPES[kind]),
        slope=1.0,
        intercept=0.0,
        compression=_ENCODINGS[encoding],
        stream_offset=data_start,
        data_offset=0,
        file_bytes=file_bytes,
    )


def _fields(path: Path, start: bytes) -> tuple[dict[str, str], int]:
    """Return the header's fields, names in lower case, and the file offset of the first byte after it."""
    header, blank, _ = start.partition(b"\n\n")
    windows, windows_blank, _ = start.partition(b"\r\n\r\n")
    if windows_blank and (not blank or len(windows) < len(header)):
        header, blank = windows, windows_blank
    if not start.startswith(b"NRRD000") or not blank:
        raise CorruptVolumeError("no NRRD header at the start of the file", where=path)
    fields = {}
    for line in header.decode("latin-1").splitlines()[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return fields, len(header) + len(blank)


def _geometry(
    fields: dict[str, str], path: Path
) -> tuple[NDArray[np.float64], tuple[float, float, float], bool]:
    """Return affine (RAS+), spacing, and whether the file says where it lies."""
    affine = np.eye(4)
    if "space directions" in fields:
        vectors = [
            [float(word) for word in text.split(",")]
            for text in _VECTOR.findall(fields["space directions"])
            if text
        ]
        if len(vectors) != 3 or any(len(vector) != 3 for vector in vectors):
            raise CorruptVolumeError("the NRRD header has no three space directions", where=path)
        columns = np.array(vectors).T
        signs = np.array(_SPACES.get(fields.get("space", "").lower(), (1, 1, 1)), np.float64)
        affine[:3, :3] = columns * signs[:, None]
        origin = [float(word) for word in fields.get("space origin", "(0,0,0)").strip("()").split(",")]
        affine[:3, 3] = signs * origin
        spacing = checked_spacing([float(length) for length in np.linalg.norm(columns, axis=0)], path)
        return affine, spacing, fields.get("space", "").lower() in _SPACES
    stated = [float(word) for word in fields.get("spacings", "1 1 1").split()]
    spacing = checked_spacing(stated, path)
    affine[:3, :3] = np.diag(spacing)
    return affine, spacing, False
