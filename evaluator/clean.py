"""Write a volume again under one clean header: every reader finds it at the same place, voxels untouched."""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError
from evaluator.formats.nifti import DATA_TYPES
from evaluator.formats.nifti_fields import new_header
from evaluator.geometry import stated_grids
from evaluator.header import VolumeHeader
from evaluator.inflate import read_pieces
from evaluator.volume import read_header

_LARGEST_SHEAR = 1e-4
_LONGEST_AXIS = 32767
_MILLIMETRES = 2
_SCANNER = 1


def write_clean(source: Path, target: Path, *, affine: NDArray[np.float64] | None = None) -> None:
    """Write the voxels of a volume, bit by bit as stored, under a NIfTI header that states one place.

    sform and qform are the same and both set, pixdim is their voxel size, the unit is millimetres; there are
    three axes, no texts and no extensions. The place is the one that this package reads first; of a sheared
    one it is the qform, or the nearest rotation where there is none.

    Args:
        source: Any file that `read_header` reads.
        target: A `.nii.gz` file; written whole or not at all.
        affine: The place, by default `clean_affine` of the source; axes at right angles, RAS+.

    Raises:
        EvaluatorError: The source cannot be read, or an axis is too long for NIfTI-1.
        OSError: The target cannot be written.
    """
    header = read_header(source)
    temporary = target.with_name(f".{target.name}.part")
    try:
        with temporary.open("wb") as file:
            packer = zlib.compressobj(1, zlib.DEFLATED, 31)
            file.write(
                packer.compress(clean_header(header, clean_affine(header) if affine is None else affine))
            )
            for piece in _pixels(header):
                file.write(packer.compress(piece))
            file.write(packer.flush())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def clean_header(header: VolumeHeader, affine: NDArray[np.float64]) -> bytes:
    """Return the NIfTI-1 header that `write_clean` writes, up to the first voxel."""
    if max(header.shape) > _LONGEST_AXIS:
        raise CorruptVolumeError(
            f"an axis of more than {_LONGEST_AXIS} voxels does not fit into NIfTI-1", where=header.path
        )
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    handed, quaternion = _quaternion(affine[:3, :3] / spacing)
    return bytes(
        new_header(
            order=">" if header.dtype.byteorder == ">" else "<",
            dim=(3, *header.shape, 1, 1, 1, 1),
            datatype=next(code for code, name in DATA_TYPES.items() if name == header.dtype.str[1:]),
            bitpix=8 * header.dtype.itemsize,
            pixdim=(handed, *spacing.tolist(), 0.0, 0.0, 0.0, 0.0),
            slope=header.slope,
            intercept=header.intercept,
            units=_MILLIMETRES,
            qform_code=_SCANNER,
            sform_code=_SCANNER,
            quatern=(*quaternion, *affine[:3, 3].tolist()),
            srow=tuple(affine[:3].ravel().tolist()),
        )
    )


def clean_affine(header: VolumeHeader) -> NDArray[np.float64]:
    """Return the one place that a clean header states: axes at right angles, RAS+, in millimetres."""
    first, *others = stated_grids(header)
    columns = first.affine[:3, :3]
    sizes = np.linalg.norm(columns, axis=0)
    directions = columns / sizes
    if np.abs(directions.T @ directions - np.eye(3)).max() <= _LARGEST_SHEAR:
        return np.array(first.affine)
    for grid in others:
        if grid.reading == "the qform":
            return np.array(grid.affine)
    left, _, right = np.linalg.svd(directions)
    affine = np.array(first.affine)
    affine[:3, :3] = left @ right * sizes
    return affine


def _pixels(header: VolumeHeader) -> Iterator[bytes]:
    skipped = header.data_offset
    for piece in read_pieces(header):
        yield piece[skipped:]
        skipped = max(0, skipped - len(piece))


def _quaternion(directions: NDArray[np.float64]) -> tuple[float, tuple[float, float, float]]:
    """Return qfac, and b, c and d of the unit quaternion whose rotation has these columns.

    The largest of its four numbers comes from the diagonal, the others from sums and differences beside it.
    """
    handed = 1.0 if np.linalg.det(directions) > 0 else -1.0
    r = directions * [1.0, 1.0, handed]
    squares = [
        1 + r[0, 0] + r[1, 1] + r[2, 2],
        1 + r[0, 0] - r[1, 1] - r[2, 2],
        1 - r[0, 0] + r[1, 1] - r[2, 2],
        1 - r[0, 0] - r[1, 1] + r[2, 2],
    ]
    products = np.array(
        [
            [squares[0], r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], squares[1], r[1, 0] + r[0, 1], r[0, 2] + r[2, 0]],
            [r[0, 2] - r[2, 0], r[1, 0] + r[0, 1], squares[2], r[2, 1] + r[1, 2]],
            [r[1, 0] - r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2], squares[3]],
        ]
    )
    row = products[int(np.argmax(squares))]
    numbers = row / np.linalg.norm(row)
    _, b, c, d = (numbers * math.copysign(1.0, numbers[0])).tolist()
    return handed, (b, c, d)
