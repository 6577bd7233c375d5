"""NRRD single files (.nrrd): `field: value` lines, an empty line, then the pixels. After the Teem format."""

from __future__ import annotations

import math
import re
import sys
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
_VECTOR = re.compile(r"\(([^)]*)\)|none", re.IGNORECASE)
_LAYERS = ("list", "vector", "point", "normal", "scalar", "stub", "???")
_LARGEST_SKIP = 16 * 1024 * 1024


def parse(path: Path, start: bytes, file_bytes: int) -> VolumeHeader:
    """Return the header of a NRRD file with its pixels inside.

    A first axis of length 1 that is no direction in space, as 3D Slicer's `.seg.nrrd` have it, is dropped.

    Args:
        path: The file, for messages.
        start: The first bytes of the file.
        file_bytes: Size of the file on disk.

    Raises:
        CorruptVolumeError: The bytes are no NRRD header of a 3D scalar volume.
    """
    fields, data_start = _fields(path, start)
    kind, compression = _checked(fields, path)
    try:
        sizes = [int(word) for word in fields["sizes"].split()]
        _check_layers(fields, sizes, path)
        shape, notes = checked_shape(sizes, path)
        affine, spacing, has_orientation = _geometry(fields, sizes, path)
    except (ValueError, KeyError) as error:
        raise CorruptVolumeError(f"the NRRD header cannot be read: {error}", where=path) from None
    dtype = np.dtype((">" if fields.get("endian", sys.byteorder).lower() == "big" else "<") + _DTYPES[kind])
    pixel_bytes = math.prod(shape) * dtype.itemsize
    lines, skipped = (_skip(fields, name, path) for name in ("line skip", "byte skip"))
    stream_offset, data_offset = _after_lines(start, data_start, lines, path), 0
    if compression != "none":
        data_offset = max(skipped, 0)
    elif skipped < 0:
        stream_offset = max(stream_offset, file_bytes - pixel_bytes)
    else:
        stream_offset += skipped
    affine = checked_affine(affine, path)
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
        stream_offset=min(stream_offset, file_bytes),
        data_offset=data_offset,
        file_bytes=file_bytes,
        grids=(StatedGrid("the header", affine),),
        zooms=spacing,
        format="NRRD",
        notes=notes if has_orientation else (*notes, "the file does not say where it lies"),
    )


def _checked(fields: dict[str, str], path: Path) -> tuple[str, Compression]:
    """Return type and compression; refuse what is no single file of plain numbers."""
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
    return kind, _ENCODINGS[encoding]


def _check_layers(fields: dict[str, str], sizes: list[int], path: Path) -> None:
    """Refuse several layers by name, because overlapping segments fit into no label volume."""
    kinds = fields.get("kinds", "").lower().split()
    layers = [size for size, kind in zip(sizes, kinds, strict=False) if kind in _LAYERS and size > 1]
    if len(sizes) > 3 and layers:
        raise CorruptVolumeError(
            f"the segmentation has {layers[0]} layers, as segments that overlap need",
            where=path,
            mend="Export it as one label map, so that each voxel has one segment",
        )


def _skip(fields: dict[str, str], name: str, path: Path) -> int:
    """Return how many lines or bytes the header skips before the pixels."""
    text = fields.get(name, fields.get(name.replace(" ", ""), "0")) or "0"
    try:
        count = int(text)
    except ValueError:
        count = _LARGEST_SKIP + 1
    if not (-1 if name == "byte skip" else 0) <= count <= _LARGEST_SKIP:
        raise CorruptVolumeError(f"the NRRD header's {name} is {text[:20]!r}", where=path)
    return count


def _after_lines(start: bytes, position: int, lines: int, path: Path) -> int:
    for _ in range(lines):
        position = start.find(b"\n", position) + 1
        if position == 0:
            raise CorruptVolumeError("the NRRD header skips more lines than there are", where=path)
    return position


def _fields(path: Path, start: bytes) -> tuple[dict[str, str], int]:
    """Return the header's fields, names in lower case, and the file offset of the first byte after it."""
    header, blank, _ = start.partition(b"\n\n")
    windows, windows_blank, _ = start.partition(b"\r\n\r\n")
    if windows_blank and (not blank or len(windows) < len(header)):
        header, blank = windows, windows_blank
    if not start.startswith(b"NRRD000") or not blank:
        found = what_it_is(start)
        raise CorruptVolumeError(
            "no NRRD header at the start of the file"
            + (f": it is {found}" if found and found != "NRRD" else ""),
            where=path,
        )
    fields = {}
    for line in header.decode("latin-1").splitlines()[1:]:
        if line.startswith("#") or ":=" in line:
            continue
        name, _, value = line.partition(":")
        fields[name.strip().lower()] = value.strip()
    return fields, len(header) + len(blank)


def _geometry(
    fields: dict[str, str], sizes: list[int], path: Path
) -> tuple[NDArray[np.float64], tuple[float, float, float], bool]:
    """Return affine (RAS+), spacing, and whether the file says where it lies."""
    if "space directions" in fields:
        return _by_vectors(fields, path)
    affine = np.eye(4)
    stated = [float(word) for word in fields.get("spacings", "1 1 1").split()]
    # An axis of layers has no spacing; it says NaN.
    stated = [size for size in stated if not math.isnan(size)]
    if len(stated) > 3 and len(stated) == len(sizes):
        stated = [size for size, length in zip(stated, sizes, strict=True) if length > 1]
    spacing = checked_spacing(stated, path)
    affine[:3, :3] = np.diag(spacing)
    return affine, spacing, False


def _by_vectors(
    fields: dict[str, str], path: Path
) -> tuple[NDArray[np.float64], tuple[float, float, float], bool]:
    """Return the same of a file that gives each axis a vector in space, or `none`."""
    texts = [match.group(1) for match in _VECTOR.finditer(fields["space directions"])]
    vectors = [[float(word) for word in text.split(",")] for text in texts if text]
    spatial = len(vectors[0]) if vectors else 0
    if spatial not in (2, 3) or len(vectors) != spatial or any(len(one) != spatial for one in vectors):
        raise CorruptVolumeError("the NRRD header has no three space directions", where=path)
    origin = [float(word) for word in fields.get("space origin", "").strip("() ").split(",") if word.strip()]
    if len(origin) not in (0, spatial):
        raise ValueError(f"space origin of {len(origin)} numbers")
    name = fields.get("space", "").lower().removesuffix("-time").removesuffix("t")
    # Of a space without a name ITK takes the numbers for its own, which are LPS.
    signs = np.array(_SPACES.get(name, (-1, -1, 1)), np.float64)
    affine = np.eye(4)
    affine[:spatial, :spatial] = np.array(vectors).T
    affine[: len(origin), 3] = origin
    affine[:3] *= signs[:, None]
    spacing = checked_spacing([float(length) for length in np.linalg.norm(affine[:3, :3], axis=0)], path)
    return affine, spacing, name in _SPACES
