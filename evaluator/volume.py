"""The only reader: a label volume from disk, checked, as an array with its spacing and affine."""

from __future__ import annotations

import io
import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError, LabelValueError, MissingFileError, RequestError
from evaluator.formats import metaimage, nifti, nrrd
from evaluator.formats.nifti_fields import LONGEST_HEADER
from evaluator.header import (
    DETACHED,
    HEADER_BYTES,
    SUFFIXES,
    Compression,
    StatedGrid,
    VolumeHeader,
    open_regular,
)
from evaluator.inflate import (
    LARGEST_WHOLE_BYTES,
    PIECE_BYTES,
    GzipParts,
    check_size,
    read_pieces,
    read_stream,
)
from evaluator.values import Casting, LabelCast

__all__ = ["DEFAULT_MAX_BYTES", "Casting", "LabelVolume", "read_header", "read_label_volume"]

DEFAULT_MAX_BYTES = 4 * 2**30
"""What reading one volume may take unless the caller says otherwise; for the gate and the scorer alike."""

_CONVERSION_CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A label volume in memory.

    Attributes:
        array: Labels on axes x, y, z; the reader gives uint8, and x as the fastest axis in memory.
        spacing_mm: Voxel size along x, y, z.
        affine: 4 x 4, voxel index to millimetres, RAS+; `None` means that the position does not matter.
        path: The file it came from, or `None`.
        has_orientation: Whether the file said where it lies.
        grids: Every place that the file's header states; see `evaluator.geometry`.
        zooms: Voxel size along x, y, z in the header's own numbers, whatever their unit; `None` where the
            volume came from no file.
        notes: Oddities of the file that a reader of its scores should know of.
    """

    array: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64] | None = None
    path: Path | None = None
    has_orientation: bool = True
    grids: tuple[StatedGrid, ...] = ()
    zooms: tuple[float, float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""
        x, y, z = self.array.shape
        return x, y, z

    def __post_init__(self) -> None:
        if self.array.ndim != 3:
            raise LabelValueError(
                f"a label volume has 3 axes, this one {self.array.ndim}", where=self.path or "array"
            )
        if not all(math.isfinite(size) and size > 0 for size in self.spacing_mm):
            raise RequestError(
                f"the voxel size {self.spacing_mm} is not positive", where=self.path or "array"
            )
        if self.array.size == 0:
            raise RequestError("the label volume has no voxels", where=self.path or "array")
        if self.array.dtype.kind not in "iub":
            raise LabelValueError(
                f"a label volume holds integers, this one {self.array.dtype}",
                where=self.path or "array",
                mend="Cast it: array.astype(np.uint8); of probabilities, the argmax or a threshold",
            )


def read_header(path: Path | str) -> VolumeHeader:
    """Read the header of a label or image volume, and nothing else.

    At most some kilobytes are read and decompressed, whatever the file claims to be.

    Args:
        path: A `.nii`, `.nii.gz`, `.mha`, `.nrrd` or `.seg.nrrd` file; upper case will do.

    Raises:
        MissingFileError: There is no such regular file, or it may not be read.
        CorruptVolumeError: The header is not one of the format, or describes no 3D scalar volume.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        known = ", ".join(SUFFIXES)
        if name.endswith(DETACHED):
            raise CorruptVolumeError(
                "a header with its pixels in another file is not read",
                where=path,
                mend=f"Save it as one file: {known}",
            )
        raise CorruptVolumeError("not a volume file by its name", where=path, mend=f"Known are {known}")
    with open_regular(path) as file:
        file_bytes = file.seek(0, 2)
        file.seek(0)
        if name.endswith(".mha"):
            return metaimage.parse(path, file.read(HEADER_BYTES), file_bytes)
        if name.endswith(".nrrd"):
            return nrrd.parse(path, file.read(HEADER_BYTES), file_bytes)
        return nifti.parse(path, *_nifti_start(file, path), file_bytes)


def read_label_volume(
    path: Path | str,
    *,
    max_bytes: int = DEFAULT_MAX_BYTES,
    casting: Casting = "exact",
    allocate: Callable[[int], NDArray[np.uint8]] | None = None,
) -> LabelVolume:
    """Read a label volume.

    The header is checked before any pixel is decompressed, and no more is allocated than `max_bytes`. The
    result has one byte a voxel; whatever else a file stores is turned into labels piece by piece.

    Args:
        path: A `.nii`, `.nii.gz` (of one or more gzip parts), `.mha`, `.nrrd` or `.seg.nrrd` file.
        max_bytes: Limit on the memory for the packed file, the unpacked stream and the result together.
        casting: How stored numbers become labels; see `evaluator.values`.
        allocate: Gives a uint8 buffer of at least the length asked for; the result may be a view of it.
            By default a new one each time.

    Returns:
        The volume, axes x, y, z, as stored.

    Raises:
        MissingFileError: There is no such regular file, or it may not be read.
        CorruptVolumeError: The file is damaged, truncated, or not what its name says.
        VolumeTooLargeError: `max_bytes` does not suffice.
        LabelValueError: A value is no label; see `evaluator.values`.
    """
    header = read_header(path)
    check_size(header, needed_bytes=least_bytes(header), max_bytes=max_bytes)
    notes = header.notes
    try:
        if _is_converted(header):
            cast = LabelCast(header, casting)
            labels = _read_cast(header, cast, max_bytes, allocate or _new_buffer)
            notes += cast.notes
        else:
            labels = _read_whole(header, max_bytes, allocate or _new_buffer)[header.data_offset :]
    except OSError as error:
        raise MissingFileError(f"cannot read the file: {error.strerror or error}", where=path) from error
    return LabelVolume(
        array=labels.reshape(header.shape, order="F"),
        spacing_mm=header.spacing_mm,
        affine=header.affine,
        path=header.path,
        has_orientation=header.has_orientation,
        grids=header.grids,
        zooms=header.zooms,
        notes=notes,
    )


def least_bytes(header: VolumeHeader) -> int:
    """Return the least memory that reading a volume takes: its labels, and pieces of the stream."""
    scratch = 64 * _CONVERSION_CHUNK if _is_converted(header) else 0
    return header.voxel_count + header.data_offset + 4 * PIECE_BYTES + scratch


def _is_converted(header: VolumeHeader) -> bool:
    return header.dtype != np.uint8 or header.is_scaled


def _read_whole(
    header: VolumeHeader, max_bytes: int, allocate: Callable[[int], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Return the unpacked stream, at once if the packed file fits beside it."""
    stream = allocate(header.stream_bytes)[: header.stream_bytes]
    if _fits_whole(header, header.stream_bytes, max_bytes):
        read_stream(header, stream)
        return stream
    filled = 0
    for piece in read_pieces(header):
        stream[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    return stream


def _read_cast(
    header: VolumeHeader, cast: LabelCast, max_bytes: int, allocate: Callable[[int], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Return the labels of a file that stores other numbers than labels of one byte."""
    needed = header.stream_bytes + least_bytes(header)
    if header.stream_bytes <= LARGEST_WHOLE_BYTES and _fits_whole(header, needed, max_bytes):
        stream = allocate(header.stream_bytes)[: header.stream_bytes]
        read_stream(header, stream)
        stored = stream[header.data_offset :].view(header.dtype)
        labels = np.empty(header.voxel_count, np.uint8)
        for first in range(0, stored.size, _CONVERSION_CHUNK):
            piece = slice(first, first + _CONVERSION_CHUNK)
            cast.into(labels[piece], stored[piece])
        return labels
    labels = allocate(header.voxel_count)[: header.voxel_count]
    filled, skipped, rest = 0, header.data_offset, b""
    for unpacked in read_pieces(header):
        content = unpacked[skipped:]
        skipped -= len(unpacked) - len(content)
        content = rest + content
        count = len(content) // header.dtype.itemsize
        rest = content[count * header.dtype.itemsize :]
        stored = np.frombuffer(content, header.dtype, count)
        for first in range(0, count, _CONVERSION_CHUNK):
            end = min(first + _CONVERSION_CHUNK, count)
            cast.into(labels[filled + first : filled + end], stored[first:end])
        filled += count
    return labels


def _fits_whole(header: VolumeHeader, unpacked_bytes: int, max_bytes: int) -> bool:
    """Return whether there is room for the packed file beside what it unpacks to."""
    packed = header.file_bytes - header.stream_offset if header.compression != "none" else 0
    return unpacked_bytes + packed <= max_bytes


def _new_buffer(length: int) -> NDArray[np.uint8]:
    return np.empty(length, np.uint8)


def _nifti_start(file: BinaryIO, path: Path) -> tuple[bytes, Compression]:
    """Return the first bytes of a NIfTI stream and how it is packed; the content decides, not the name."""
    packed = file.read(HEADER_BYTES)
    if packed[:2] != b"\x1f\x8b":
        return packed, "none"
    # The header may be spread over several parts, if they are very short.
    parts, start = GzipParts(io.BytesIO(packed)), b""
    try:
        while len(start) < LONGEST_HEADER and (piece := parts.read(HEADER_BYTES)):
            start += piece
    except zlib.error as error:
        if len(start) < LONGEST_HEADER:
            raise CorruptVolumeError(f"the compressed stream is damaged: {error}", where=path) from error
    return start, "gzip"
