"""The only reader: a label volume from disk, checked, as an array with its spacing and affine."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import CorruptVolumeError, LabelValueError, MissingFileError, RequestError
from evaluator.formats import metaimage, nifti, nrrd
from evaluator.header import HEADER_BYTES, SUFFIXES, Compression, VolumeHeader, open_regular
from evaluator.inflate import check_size, read_stream

DEFAULT_MAX_BYTES = 4 * 2**30
"""What reading one volume may take unless the caller says otherwise."""

Casting = Literal["exact", "truncate", "match"]
"""How stored numbers become labels; see `read_label_volume`."""

_LARGEST_FRACTION = 1e-3
_CONVERSION_CHUNK = 1 << 18


@dataclass(frozen=True, eq=False)
class LabelVolume:
    """A label volume in memory.

    Attributes:
        array: Labels on axes x, y, z; uint8 where every value fits, else int32. Fastest when x is the
            fastest axis in memory, as the reader delivers it.
        spacing_mm: Voxel size along x, y, z.
        affine: 4 x 4, voxel index to millimetres, RAS+; `None` means that the position does not matter.
        path: The file it came from, or `None`.
        has_orientation: Whether the file said where it lies.
        notes: Oddities of the file that a reader of its scores should know of.
    """

    array: NDArray[Any]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64] | None = None
    path: Path | None = None
    has_orientation: bool = True
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
                f"a label volume holds integers, this one {self.array.dtype}", where=self.path or "array"
            )


def read_header(path: Path | str) -> VolumeHeader:
    """Read the header of a label or image volume, and nothing else.

    At most some kilobytes are read and decompressed, whatever the file claims to be.

    Args:
        path: A `.nii`, `.nii.gz`, `.mha` or `.nrrd` file.

    Raises:
        MissingFileError: There is no such regular file, or it may not be read.
        CorruptVolumeError: The header is not one of the format, or describes no 3D scalar volume.
    """
    path = Path(path)
    name = path.name.lower()
    if not name.endswith(SUFFIXES):
        raise CorruptVolumeError(
            "not a volume file by its name", where=path, mend=f"Known are {', '.join(SUFFIXES)}"
        )
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

    The header is checked before any pixel is decompressed, and no more is allocated than `max_bytes`.

    Args:
        path: A `.nii`, `.nii.gz` (of one or more gzip parts), `.mha` or `.nrrd` file.
        max_bytes: Limit on the memory for the packed file, the unpacked stream and the result together.
        casting: How stored numbers become labels. `exact`: the header's scaling is applied, and a value
            more than 1e-3 off an integer is refused. `truncate`: as `numpy.uint8(values)` does, which the
            official FLARE scripts rely on: 12.9999987 becomes 12, and 257 becomes 1. `match`: a value that
            is no whole number from 0 to 255 is no label and becomes background.
        allocate: Gives a uint8 buffer of at least the length asked for; the result may be a view of it.
            By default a new one each time.

    Returns:
        The volume, axes x, y, z, as stored.

    Raises:
        MissingFileError: There is no such regular file, or it may not be read.
        CorruptVolumeError: The file is damaged, truncated, or not what its name says.
        VolumeTooLargeError: `max_bytes` does not suffice.
        LabelValueError: A value is no label: a fraction, NaN or infinite.
    """
    header = read_header(path)
    converts = header.dtype != np.uint8 or header.is_scaled
    check_size(header, extra_bytes=_conversion_bytes(header) if converts else 0, max_bytes=max_bytes)
    try:
        buffer = (allocate or _new_buffer)(header.stream_bytes)[: header.stream_bytes]
        read_stream(header, buffer)
        stored = buffer[header.data_offset :].view(header.dtype)
        labels = _labels(stored, header, casting) if converts else stored
    except OSError as error:
        raise MissingFileError(f"cannot read the file: {error.strerror or error}", where=path) from error
    return LabelVolume(
        array=labels.reshape(header.shape, order="F"),
        spacing_mm=header.spacing_mm,
        affine=header.affine,
        path=header.path,
        has_orientation=header.has_orientation,
        notes=header.notes,
    )


def _conversion_bytes(header: VolumeHeader) -> int:
    """Return what `_labels` may allocate: the result as uint8 and as int32, and one piece in many forms."""
    return 5 * header.voxel_count + 64 * min(header.voxel_count, _CONVERSION_CHUNK)


def _new_buffer(length: int) -> NDArray[np.uint8]:
    return np.empty(length, np.uint8)


def _nifti_start(file: BinaryIO, path: Path) -> tuple[bytes, Compression]:
    """Return the first bytes of a NIfTI stream and how it is packed; the content decides, not the name."""
    packed = file.read(HEADER_BYTES)
    if packed[:2] != b"\x1f\x8b":
        return packed, "none"
    start = b""
    try:
        # The header may be spread over several parts, if they are very short.
        while packed[:2] == b"\x1f\x8b" and len(start) < nifti.LONGEST_HEADER:
            inflater = zlib.decompressobj(wbits=31)
            start += inflater.decompress(packed, HEADER_BYTES)
            packed = inflater.unused_data
    except zlib.error as error:
        raise CorruptVolumeError(f"the compressed stream is damaged: {error}", where=path) from error
    return start, "gzip"


def _labels(stored: NDArray[Any], header: VolumeHeader, casting: Casting) -> NDArray[Any]:
    """Return stored numbers as labels: uint8 if all fit, else int32; piece by piece, to bound the memory."""
    labels: NDArray[Any] = np.empty(stored.shape, np.uint8)
    for first in range(0, stored.size, _CONVERSION_CHUNK):
        piece = slice(first, first + _CONVERSION_CHUNK)
        with np.errstate(invalid="ignore"):
            small = stored[piece].astype(np.uint8)
        if not header.is_scaled and np.array_equal(small, stored[piece]):
            labels[piece] = small  # what almost every file holds; the rest below is several times slower
            continue
        values = _integers(stored[piece], header, casting)
        if labels.dtype == np.uint8 and values.size and (values.min() < 0 or values.max() > 255):
            labels = labels.astype(np.int32)
        labels[piece] = values
    return labels


def _integers(values: NDArray[Any], header: VolumeHeader, casting: Casting) -> NDArray[Any]:
    """Return real values as whole numbers that fit in 32 bits."""
    if header.is_scaled:
        values = values.astype(np.float64) * header.slope + header.intercept
    if casting == "match":
        return np.where((values == np.rint(values)) & (values >= 0) & (values <= 255), values, 0)
    if values.dtype.kind == "f":
        if casting == "truncate":
            # Out-of-range and NaN become 0 modulo 256 there, as on every x86 machine.
            with np.errstate(invalid="ignore"):
                finite = np.where(np.abs(values) < 2.0**31, values, 0.0)
            return np.trunc(finite).astype(np.int64) % 256
        rounded = np.rint(values)
        with np.errstate(invalid="ignore"):
            wrong = ~(np.abs(values - rounded) <= _LARGEST_FRACTION)
        if wrong.any():
            value = float(values[np.flatnonzero(wrong)[0]])
            raise LabelValueError(
                f"the label volume holds {value:g}, which is no whole number",
                where=header.path,
                mend="Save class numbers, not probabilities; best as uint8 without scaling",
            )
        values = rounded
    elif casting == "truncate":
        return values % 256
    if values.size and (values.min() < -(2**31) or values.max() >= 2**31):
        raise LabelValueError("the label volume holds numbers beyond 32 bits", where=header.path)
    return values
