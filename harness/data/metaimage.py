"""A NIfTI image as a MetaImage (.mha), the form in which grand-challenge.org hands images to algorithms.

The header's keys are MetaIO's, as ITK writes them; the pixels are zlib-compressed. Axes, voxel order and numbers stay
as they are: only the sign of the first two coordinates changes, from NIfTI's RAS to ITK's LPS.
"""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from evaluator.volume import read_header

_TYPES = {
    "i1": "MET_CHAR",
    "u1": "MET_UCHAR",
    "i2": "MET_SHORT",
    "u2": "MET_USHORT",
    "i4": "MET_INT",
    "u4": "MET_UINT",
    "i8": "MET_LONG_LONG",
    "u8": "MET_ULONG_LONG",
    "f4": "MET_FLOAT",
    "f8": "MET_DOUBLE",
}
_LPS = np.diag([-1.0, -1.0, 1.0])
_LEVEL = 1


def metaimage_of(path: Path) -> bytes:
    """Return a NIfTI image of three axes as a MetaImage file's bytes.

    A header's slope and intercept, which a MetaImage cannot state, are applied.

    Raises:
        EvaluatorError: the header cannot be read.
    """
    header = read_header(path)
    values = _values(path)
    rotation = _LPS @ header.affine[:3, :3]
    sizes = np.linalg.norm(rotation, axis=0)
    directions = rotation / np.where(sizes > 0, sizes, 1.0)
    fields = {
        "ObjectType": "Image",
        "NDims": "3",
        "BinaryData": "True",
        "BinaryDataByteOrderMSB": "False",
        "CompressedData": "True",
        # Each row of the stored matrix is the direction of one voxel axis.
        "TransformMatrix": _numbers(directions.T.ravel()),
        "Offset": _numbers(_LPS @ header.affine[:3, 3]),
        "CenterOfRotation": "0 0 0",
        "ElementSpacing": _numbers(sizes),
        "DimSize": " ".join(map(str, values.shape)),
        "ElementType": _TYPES[values.dtype.str[1:]],
        "ElementDataFile": "LOCAL",
    }
    pixels = zlib.compress(values.tobytes(order="F"), _LEVEL)
    lines = [*fields.items()]
    lines.insert(5, ("CompressedDataSize", str(len(pixels))))
    return "".join(f"{key} = {value}\n" for key, value in lines).encode() + pixels


def _values(path: Path) -> NDArray[np.generic]:
    """Return the voxels (x, y, z), little-endian, as the header's slope and intercept make them."""
    image: Any = nib.load(path)
    stored = image.dataobj
    slope, intercept = (float(number) for number in (stored.slope, stored.inter))
    values = np.asarray(stored.get_unscaled())
    values = values.reshape(values.shape[:3])
    if (slope, intercept) != (1.0, 0.0):
        scaled = values.astype(np.float64) * slope + intercept
        values = scaled.astype(np.float32)
        if np.array_equal(scaled, np.rint(scaled)) and np.abs(scaled).max(initial=0) < 2**15:
            values = scaled.astype(np.int16)
    elif values.dtype.str[1:] not in _TYPES:
        values = values.astype(np.float64)
    return values.astype(values.dtype.newbyteorder("<"), copy=False)


def _numbers(values: NDArray[np.float64]) -> str:
    # Adding zero turns a negative zero into the plain one.
    return " ".join(f"{value + 0.0:.17g}" for value in values)
