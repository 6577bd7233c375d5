"""What a volume file says about itself, known before a single voxel is decompressed."""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError, MissingFileError

Compression = Literal["none", "gzip", "zlib"]

SUFFIXES = (".nii.gz", ".nii", ".mha", ".seg.nrrd", ".nrrd")
"""The endings of the file names that are read, the longer of two that fit first; in any case."""

DETACHED = (".mhd", ".nhdr", ".hdr", ".img")
"""Headers with the pixels in another file, and such pixels; they are refused by name."""

HEADER_BYTES = 64 * 1024
"""How much of a file, or of its decompressed stream, may be header."""


@dataclass(frozen=True, eq=False)
class StatedGrid:
    """One place that a header gives its volume, under one way to read it.

    Attributes:
        reading: The way to read it in words, such as "the qform".
        affine: 4 x 4, voxel index to millimetres, RAS+.
        by_default: A common reader (nibabel, ITK) takes this one where nobody tells it otherwise.
    """

    reading: str
    affine: NDArray[np.float64]
    by_default: bool = True


class Placed(Protocol):
    """What has a shape and a place: a `VolumeHeader` or a `LabelVolume`.

    It may also have `grids`, every place that its header states; without them the affine is the only one.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along x, y, z."""

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """Voxel index to millimetres, RAS+, or `None`."""

    @property
    def has_orientation(self) -> bool:
        """Whether the affine is more than a guess."""


@dataclass(frozen=True, eq=False)
class VolumeHeader:
    """The header of a label or image volume, checked.

    Axes are x, y, z as stored, x fastest in memory; the affine maps voxel indices to millimetres in
    right-anterior-superior (RAS+) coordinates, whatever convention the file format uses.

    Attributes:
        path: The file.
        shape: Voxels along x, y, z; of more than three axes those of length 1 are dropped.
        spacing_mm: Voxel size along x, y, z as the header stores it.
        affine: 4 x 4, voxel index to millimetres.
        grids: Every place that the header states, the affine's first.
        has_orientation: The file says where it lies; without that the affine is a guess.
        dtype: The stored number type, with its byte order.
        slope: Factor from stored to real values.
        intercept: Offset from stored to real values.
        compression: How the pixels are packed.
        stream_offset: Where in the file the (compressed) stream begins.
        data_offset: Where in the decompressed stream the pixels begin.
        file_bytes: Size of the file on disk.
        zooms: Voxel size along x, y, z in the header's own numbers, whatever their unit.
        format: What the file is, such as "NIfTI-1".
        notes: Oddities that a reader of the scores should know of.
    """

    path: Path
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    has_orientation: bool
    dtype: np.dtype[Any]
    slope: float
    intercept: float
    compression: Compression
    stream_offset: int
    data_offset: int
    file_bytes: int
    grids: tuple[StatedGrid, ...] = ()
    zooms: tuple[float, float, float] = (1.0, 1.0, 1.0)
    format: str = ""
    notes: tuple[str, ...] = ()

    @property
    def voxel_count(self) -> int:
        """Number of voxels."""
        return math.prod(self.shape)

    @property
    def stream_bytes(self) -> int:
        """Length of the decompressed stream up to the last voxel."""
        return self.data_offset + self.voxel_count * self.dtype.itemsize

    @property
    def is_scaled(self) -> bool:
        """Whether stored values must be multiplied or shifted to become real values."""
        return self.slope != 1.0 or self.intercept != 0.0


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, but only a regular one: a pipe or device would block or never end.

    Raises:
        MissingFileError: There is no such file, it is none, or it may not be read.
    """
    try:
        # O_NONBLOCK: opening a named pipe must fail the check below instead of waiting for a writer.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MissingFileError(f"cannot open the file: {reason}", where=path) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MissingFileError("not a regular file", where=path)
    return os.fdopen(descriptor, "rb")


def checked_shape(sizes: Sequence[int], path: Path) -> tuple[tuple[int, int, int], tuple[str, ...]]:
    """Return three positive axis lengths, and a note if axes of length 1 were dropped from the front.

    Of more than three axes those of length 1 are dropped, the last ones first; missing axes are added as 1.

    Raises:
        CorruptVolumeError: An axis is not positive, or there are four or more real axes.
    """
    if not sizes or any(size < 1 for size in sizes):
        raise CorruptVolumeError(f"the header gives the shape {list(sizes)}", where=path)
    kept, notes = list(sizes), tuple[str, ...]()
    while len(kept) > 3 and kept[-1] == 1:
        kept.pop()
    stored = "x".join(map(str, kept))
    if len(kept) > 3 and kept.count(1) >= len(kept) - 3:
        while len(kept) > 3:
            kept.remove(1)
        notes = (f"stored as {stored}: an axis of length 1 was dropped",)
    if len(kept) > 3:
        raise CorruptVolumeError(
            f"the volume has {len(kept)} axes: {stored}",
            where=path,
            mend="Store one 3D volume per file: class numbers, not a channel for each class",
        )
    x, y, z = (*kept, 1, 1)[:3]
    return (x, y, z), notes


def checked_spacing(spacing: Sequence[float], path: Path) -> tuple[float, float, float]:
    """Return three positive voxel sizes in mm; missing axes get 1.

    Raises:
        CorruptVolumeError: A voxel size is zero, negative or not finite.
    """
    x, y, z = (*spacing, 1.0, 1.0, 1.0)[:3]
    if not all(math.isfinite(size) and size > 0 for size in (x, y, z)):
        raise CorruptVolumeError(
            f"the header gives the voxel size {x:g}x{y:g}x{z:g} mm",
            where=path,
            mend="Voxel sizes must be positive",
        )
    return float(x), float(y), float(z)


def checked_affine(affine: NDArray[np.float64], path: Path) -> NDArray[np.float64]:
    """Return the affine, read-only, if it is invertible.

    Raises:
        CorruptVolumeError: It holds values that are not finite, or flattens an axis.
    """
    with np.errstate(all="ignore"):
        determinant = float(np.linalg.det(affine[:3, :3])) if np.isfinite(affine).all() else 0.0
    if not math.isfinite(determinant) or determinant == 0.0:
        raise CorruptVolumeError("the orientation in the header is no invertible matrix", where=path)
    affine = np.array(affine)
    affine.flags.writeable = False
    return affine
