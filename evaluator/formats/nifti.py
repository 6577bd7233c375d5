"""NIfTI-1 and NIfTI-2 single files (.nii, .nii.gz): field offsets after the NIfTI header definitions."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError
from evaluator.header import Compression, VolumeHeader, checked_affine, checked_shape, checked_spacing

LONGEST_HEADER = 540
"""Bytes of a NIfTI-2 header; NIfTI-1 has 348."""

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
_UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
_LARGEST_OFFSET = 16 * 1024 * 1024


def parse(path: Path, start: bytes, compression: Compression, file_bytes: int) -> VolumeHeader:
    """Return the header of a NIfTI file.

    Spacing is `pixdim`, as in the official FLARE scripts; position and orientation are the sform where its
    code is set, else the qform, else unknown. A disagreement between them is noted.

    Args:
        path: The file, for messages.
        start: The first bytes of the decompressed stream.
        compression: How the file is packed.
        file_bytes: Size of the file on disk.

    Raises:
        CorruptVolumeError: The bytes are no NIfTI header of a 3D scalar volume.
    """
    order, version = _order_and_version(path, start)
    fields = _fields_1(order, start) if version == 1 else _fields_2(order, start)
    dim, datatype, pixdim, vox_offset, slope, intercept, units, codes, quatern, srow, magic = fields
    if magic not in (b"n+1\0", b"n+2\0"):
        raise CorruptVolumeError(
            "the NIfTI header keeps its pixels in another file", where=path, mend="Save it as one .nii.gz"
        )
    if not 1 <= dim[0] <= 7:
        raise CorruptVolumeError(f"the NIfTI header gives {dim[0]} axes", where=path)
    if datatype not in _DTYPES:
        raise CorruptVolumeError(
            f"NIfTI data type {datatype} is no plain number", where=path, mend="Save integers, best uint8"
        )
    first = 352 if version == 1 else 544
    if not math.isfinite(vox_offset) or vox_offset < 0 or vox_offset > _LARGEST_OFFSET:
        raise CorruptVolumeError(f"the NIfTI header puts the pixels at byte {vox_offset:g}", where=path)

    shape = checked_shape(list(dim[1 : dim[0] + 1]), path)
    unit = _UNIT_MM.get(units & 7, 1.0)
    axes = min(int(dim[0]), 3)
    spacing = checked_spacing([abs(size) * unit for size in pixdim[1 : axes + 1]], path)
    affine, has_orientation, notes = _orientation(shape, spacing, unit, codes, pixdim[0], quatern, srow)
    if slope == 0.0 or not math.isfinite(slope):
        slope, intercept = 1.0, 0.0
    if not math.isfinite(intercept):
        intercept = 0.0
    return VolumeHeader(
        path=path,
        shape=shape,
        spacing_mm=spacing,
        affine=checked_affine(affine, path),
        has_orientation=has_orientation,
        dtype=np.dtype(order + _DTYPES[datatype]),
        slope=slope,
        intercept=intercept,
        compression=compression,
        stream_offset=0,
        data_offset=max(int(vox_offset), first),
        file_bytes=file_bytes,
        notes=notes,
    )


def _order_and_version(path: Path, start: bytes) -> tuple[str, int]:
    for order in "<>":
        for version, length in ((1, 348), (2, LONGEST_HEADER)):
            if len(start) >= length and struct.unpack_from(order + "i", start)[0] == length:
                return order, version
    raise CorruptVolumeError("no NIfTI header at the start of the file", where=path)


def _fields_1(order: str, start: bytes) -> tuple:  # type: ignore[type-arg]
    def at(layout: str, offset: int) -> tuple:  # type: ignore[type-arg]
        return struct.unpack_from(order + layout, start, offset)

    return (
        at("8h", 40),
        at("h", 70)[0],
        at("8f", 76),
        at("f", 108)[0],
        at("f", 112)[0],
        at("f", 116)[0],
        start[123],
        at("2h", 252),
        at("6f", 256),
        at("12f", 280),
        start[344:348],
    )


def _fields_2(order: str, start: bytes) -> tuple:  # type: ignore[type-arg]
    def at(layout: str, offset: int) -> tuple:  # type: ignore[type-arg]
        return struct.unpack_from(order + layout, start, offset)

    qform_code, sform_code = at("2i", 344)
    return (
        at("8q", 16),
        at("h", 12)[0],
        at("8d", 104),
        float(at("q", 168)[0]),
        at("d", 176)[0],
        at("d", 184)[0],
        at("i", 500)[0],
        (qform_code, sform_code),
        at("6d", 352),
        at("12d", 400),
        start[4:8],
    )


def _orientation(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    unit: float,
    codes: tuple[int, int],
    qfac: float,
    quatern: tuple[float, ...],
    srow: tuple[float, ...],
) -> tuple[NDArray[np.float64], bool, tuple[str, ...]]:
    """Return affine, whether the file gives one, and notes."""
    qform_code, sform_code = codes
    qform = _qform(spacing, unit, qfac, quatern) if qform_code > 0 else None
    if sform_code > 0:
        sform = np.eye(4)
        sform[:3] = np.array(srow, np.float64).reshape(3, 4) * unit
        return sform, True, _disagreements(shape, spacing, sform, qform)
    if qform is not None:
        return qform, True, ()
    centred = np.diag([*spacing, 1.0])
    centred[:3, 3] = -0.5 * (np.array(shape) - 1) * spacing
    return centred, False, ("the file does not say where it lies (no sform, no qform)",)


def _qform(
    spacing: tuple[float, float, float], unit: float, qfac: float, quatern: tuple[float, ...]
) -> NDArray[np.float64]:
    """Return the affine of a unit quaternion, as nifti1.h, method 2, defines it."""
    b, c, d = quatern[:3]
    a_squared = 1.0 - (b * b + c * c + d * d)
    if a_squared < 1e-7:
        norm = math.sqrt(b * b + c * c + d * d)
        a, b, c, d = (0.0, b / norm, c / norm, d / norm) if norm > 0 else (1.0, 0.0, 0.0, 0.0)
    else:
        a = math.sqrt(a_squared)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    affine = np.eye(4)
    affine[:3, :3] = rotation * [spacing[0], spacing[1], spacing[2] * (-1.0 if qfac < 0 else 1.0)]
    affine[:3, 3] = np.array(quatern[3:6]) * unit
    return affine


def _disagreements(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    sform: NDArray[np.float64],
    qform: NDArray[np.float64] | None,
) -> tuple[str, ...]:
    notes = []
    columns = sform[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if np.abs(lengths - spacing).max() > 1e-3 * max(spacing):
        stated = "x".join(f"{length:.4g}" for length in lengths)
        stored = "x".join(f"{size:.4g}" for size in spacing)
        notes.append(f"the sform's voxel size {stated} mm is not pixdim's {stored} mm, which is used")
    with np.errstate(all="ignore"):
        unit_columns = columns / lengths
        shear = np.abs(unit_columns.T @ unit_columns - np.eye(3)).max()
    if shear > 1e-3:
        notes.append("the sform is sheared; some tools refuse such a file")
    if qform is not None:
        far = np.array([*(np.array(shape) - 1), 1.0])
        apart = max(np.abs((sform - qform)[:3, 3]).max(), np.abs((sform - qform) @ far)[:3].max())
        if apart > 0.5 * min(spacing):
            notes.append(f"sform and qform put the volume {apart:.3g} mm apart; the sform is used")
    return tuple(notes)
