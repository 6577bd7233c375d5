"""NIfTI-1 and NIfTI-2 single files (.nii, .nii.gz)."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from evaluator.errors import CorruptVolumeError
from evaluator.formats.nifti_fields import HEADER_BYTES, NiftiFields, read_fields
from evaluator.formats.nifti_grids import stated_grids, unit_mm
from evaluator.formats.signature import what_it_is
from evaluator.header import Compression, StatedGrid, VolumeHeader, checked_affine, checked_shape

DATA_TYPES = {
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
"""The number types that are read, by their code in the header."""

_NO_NUMBERS = {
    0: "unknown",
    1: "single bits",
    32: "complex numbers",
    128: "RGB colours",
    1536: "128-bit floats",
    1792: "complex numbers",
    2048: "complex numbers",
    2304: "RGBA colours",
}
_LARGEST_OFFSET = 16 * 1024 * 1024
_POSSIBLE_MM = (1e-9, 1e9)


def parse(path: Path, start: bytes, compression: Compression, file_bytes: int) -> VolumeHeader:
    """Return the header of a NIfTI file.

    Spacing is `pixdim`, as in the official FLARE scripts, or the length of the affine's columns where pixdim
    holds no size; position and orientation are the sform where its code is set, else the qform, else unknown.
    Whatever else the header states is in `grids`, and a disagreement is noted.

    Args:
        path: The file, for messages.
        start: The first bytes of the decompressed stream.
        compression: How the file is packed.
        file_bytes: Size of the file on disk.

    Raises:
        CorruptVolumeError: The bytes are no NIfTI header of a 3D scalar volume.
    """
    fields = read_fields(start)
    if fields is None:
        raise _no_header(path, start, compression)
    _check(fields, path)
    # A length below 1 counts as 1, except the first; nifti1_io.c reads it so, and some writers leave zeros.
    sizes = [fields.dim[1], *(max(size, 1) for size in fields.dim[2 : fields.dim[0] + 1])]
    shape, shape_notes = checked_shape(sizes, path)
    grids = stated_grids(fields, shape)
    if not grids:
        raise CorruptVolumeError("the orientation in the header is no invertible matrix", where=path)
    spacing, spacing_notes = _spacing(fields, grids[0], path)
    has_orientation = fields.sform_code > 0 or fields.qform_code > 0
    slope, intercept = fields.slope, fields.intercept
    if slope == 0.0 or not math.isfinite(slope):
        slope, intercept = 1.0, 0.0
    return VolumeHeader(
        path=path,
        shape=shape,
        spacing_mm=spacing,
        affine=checked_affine(grids[0].affine, path),
        has_orientation=has_orientation,
        dtype=np.dtype(fields.order + DATA_TYPES[fields.datatype]),
        slope=slope,
        intercept=intercept if math.isfinite(intercept) else 0.0,
        compression=compression,
        stream_offset=0,
        data_offset=max(int(fields.vox_offset), HEADER_BYTES[fields.version] + 4),
        file_bytes=file_bytes,
        grids=grids,
        zooms=_zooms(fields),
        format=f"NIfTI-{fields.version}",
        notes=(*shape_notes, *spacing_notes, *_remarks(fields, shape, spacing, grids)),
    )


def _no_header(path: Path, start: bytes, compression: Compression) -> CorruptVolumeError:
    found = what_it_is(start)
    if compression == "gzip" and found == "gzip":
        return CorruptVolumeError(
            "no NIfTI header at the start of the file: it is compressed twice",
            where=path,
            mend="Unpack it once, for example with gunzip",
        )
    return CorruptVolumeError(
        "no NIfTI header at the start of the file" + (f": it is {found}" if found else ""),
        where=path,
        mend="Save it as NIfTI, .nii or .nii.gz" if found else "",
    )


def _check(fields: NiftiFields, path: Path) -> None:
    if fields.magic[:4] not in (b"n+1\0", b"n+2\0"):
        raise CorruptVolumeError(
            "the NIfTI header keeps its pixels in another file", where=path, mend="Save it as one .nii.gz"
        )
    if not 1 <= fields.dim[0] <= 7:
        raise CorruptVolumeError(f"the NIfTI header gives {fields.dim[0]} axes", where=path)
    if fields.datatype not in DATA_TYPES:
        name = _NO_NUMBERS.get(fields.datatype)
        raise CorruptVolumeError(
            f"NIfTI data type {fields.datatype} is no plain number" + (f" but {name}" if name else ""),
            where=path,
            mend="Save integers, best uint8",
        )
    offset = fields.vox_offset
    if not math.isfinite(offset) or offset < 0 or offset > _LARGEST_OFFSET:
        raise CorruptVolumeError(f"the NIfTI header puts the pixels at byte {offset:g}", where=path)


def _spacing(
    fields: NiftiFields, grid: StatedGrid, path: Path
) -> tuple[tuple[float, float, float], tuple[str, ...]]:
    """Return the voxel size in mm, and a note if pixdim has none and a form had to give it."""
    unit = unit_mm(fields)
    axes = min(fields.dim[0], 3)
    stored = [abs(size) * unit for size in fields.pixdim[1 : axes + 1]] + [1.0] * (3 - axes)
    columns = np.linalg.norm(grid.affine[:3, :3], axis=0).tolist()
    low, high = _POSSIBLE_MM
    is_size = [math.isfinite(size) and size > 0 for size in stored]
    sizes = [size if good else column for size, good, column in zip(stored, is_size, columns, strict=True)]
    if (fields.sform_code <= 0 and not all(is_size)) or not all(low < size < high for size in sizes):
        shown = "x".join(f"{size:g}" for size in (stored if not all(is_size) else sizes))
        raise CorruptVolumeError(
            f"the header gives the voxel size {shown} mm", where=path, mend="Voxel sizes must be positive"
        )
    notes = () if all(is_size) else ("pixdim holds no voxel size along every axis; the sform's is used",)
    x, y, z = map(float, sizes)
    return (x, y, z), notes


def _zooms(fields: NiftiFields) -> tuple[float, float, float]:
    """Return pixdim without its unit, as nibabel's `get_zooms` does, 1 for an axis that is not there."""
    axes = min(fields.dim[0], 3)
    usable = [abs(size) if math.isfinite(size) and size != 0 else 1.0 for size in fields.pixdim[1 : axes + 1]]
    x, y, z = (*usable, 1.0, 1.0, 1.0)[:3]
    return x, y, z


def _remarks(
    fields: NiftiFields,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    grids: tuple[StatedGrid, ...],
) -> tuple[str, ...]:
    """Return what in the header contradicts itself, or is missing."""
    if fields.sform_code <= 0:
        missing = "the file does not say where it lies (no sform, no qform)"
        return () if fields.qform_code > 0 else (missing,)
    if grids[0].reading != "the sform":
        return ("the sform is no invertible matrix; the qform is used",)
    notes = []
    columns = grids[0].affine[:3, :3]
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
    qform = next((grid for grid in grids if grid.reading == "the qform"), None)
    if qform is not None:
        far = np.array([*(np.array(shape) - 1), 1.0])
        difference = grids[0].affine - qform.affine
        apart = max(np.abs(difference[:3, 3]).max(), np.abs(difference @ far)[:3].max())
        if apart > 0.5 * min(spacing):
            notes.append(f"sform and qform put the volume {apart:.3g} mm apart; the sform is used")
    return tuple(notes)
