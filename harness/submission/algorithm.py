"""Run a FLARE submission as an algorithm of grand-challenge.org: MetaImage in, NIfTI between, MetaImage out.

`harness new --grand-challenge` copies this file into an image, where it is the entrypoint and stands on
nothing but Python's standard library:

    python3 algorithm.py --input images/ct --output images/organs -- /bin/sh predict.sh

Voxels are never rearranged. Only headers change, and the sign of the first two coordinates: MetaImage is LPS,
NIfTI RAS.
"""

from __future__ import annotations

import argparse
import array
import gzip
import math
import os
import shutil
import struct
import subprocess
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path

CASE = "case_0001"

# NIfTI's code, bytes a voxel, and array's letter, by MetaImage's type.
_TYPES = {
    "MET_UCHAR": (2, 1, "B"),
    "MET_CHAR": (256, 1, "b"),
    "MET_SHORT": (4, 2, "h"),
    "MET_USHORT": (512, 2, "H"),
    "MET_INT": (8, 4, "i"),
    "MET_UINT": (768, 4, "I"),
    "MET_LONG_LONG": (1024, 8, "q"),
    "MET_ULONG_LONG": (1280, 8, "Q"),
    "MET_FLOAT": (16, 4, "f"),
    "MET_DOUBLE": (64, 8, "d"),
}
_OF_CODE = {code: name for name, (code, _, _) in _TYPES.items()}
_SAME = {"MET_LONG": "MET_INT", "MET_ULONG": "MET_UINT"}
_HEADER_BYTES = 348
_DATA_OFFSET = 352
_HALF_TURN = 1e-7  # what float32 leaves of a zero; nifti1_io's threshold

Matrix = list[list[float]]
"""Three rows of four: voxel index to millimetres."""


class UnreadableImage(Exception):
    """An image is not what this program can hand on; the message says which and why."""


@dataclass(frozen=True)
class Image:
    """A volume of three axes.

    Attributes:
        sizes: Voxels along i, j, k; i runs fastest in `voxels`.
        kind: MetaImage's name of the number type.
        affine: Voxel index to millimetres in RAS.
        voxels: Little-endian.
    """

    sizes: tuple[int, int, int]
    kind: str
    affine: Matrix
    voxels: bytes


def main() -> int:
    """Convert the inputs, run the command, convert its output; return its exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", action="append", required=True, help="an input's folder below /input")
    parser.add_argument("--output", required=True, help="the output's folder below /output")
    parser.add_argument("--inputs-root", type=Path, default=Path("/input"))
    parser.add_argument("--outputs-root", type=Path, default=Path("/output"))
    parser.add_argument("--work", type=Path, default=Path("/tmp/flare"))
    parser.add_argument("command", nargs="+")
    options = parser.parse_args()
    inputs, outputs = options.work / "inputs", options.work / "outputs"
    try:
        for folder in (inputs, outputs):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for channel, each in enumerate(options.input):
            path = only_image(options.inputs_root / each, (".mha",))
            write_nifti(read_metaimage(path), inputs / f"{CASE}_{channel:04d}.nii.gz")
        places = {"FLARE_INPUTS": str(inputs), "FLARE_OUTPUTS": str(outputs)}
        code = subprocess.run(options.command, env={**os.environ, **places}, check=False).returncode
        if code != 0:
            return code if code > 0 else 128 - code
        image = read_nifti(only_image(outputs, (".nii.gz", ".nii")))
        target = options.outputs_root / options.output
        target.mkdir(parents=True, exist_ok=True)
        write_metaimage(as_bytes(image), target / "output.mha")
    except UnreadableImage as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def only_image(folder: Path, endings: tuple[str, ...]) -> Path:
    """Return the one image of a folder.

    Raises:
        UnreadableImage: There is none, or more than one.
    """
    held = sorted(folder.iterdir()) if folder.is_dir() else []
    images = [path for path in held if path.name.lower().endswith(endings)]
    if len(images) != 1:
        raise UnreadableImage(f"{folder} holds {len(images)} images ({', '.join(endings)}); one is expected")
    return images[0]


def read_metaimage(path: Path) -> Image:
    """Read a .mha file.

    Raises:
        UnreadableImage: It is no volume of numbers with its pixels inside.
    """
    content = path.read_bytes()
    fields: dict[str, str] = {}
    place = 0
    while "ElementDataFile" not in fields:
        end = content.find(b"\n", place)
        key, equals, value = content[place:end].decode("latin-1").partition("=")
        if end < 0 or not equals:
            raise UnreadableImage(f"{path.name} is no MetaImage")
        fields[key.strip()] = value.strip()
        place = end + 1
    kind = _SAME.get(fields.get("ElementType", ""), fields.get("ElementType", ""))
    sizes = [int(word) for word in fields.get("DimSize", "").split()]
    if kind not in _TYPES or len(sizes) != 3 or fields["ElementDataFile"] != "LOCAL":
        raise UnreadableImage(f"{path.name} is no MetaImage of three axes with its pixels inside")
    voxels = content[place:]
    if fields.get("CompressedData", "False").lower() == "true":
        voxels = zlib.decompress(voxels)
    _, width, letter = _TYPES[kind]
    voxels = voxels[: math.prod(sizes) * width]
    if len(voxels) != math.prod(sizes) * width:
        raise UnreadableImage(f"{path.name} is truncated")
    if "true" in (fields.get(f"{name}ByteOrderMSB", "").lower() for name in ("Element", "BinaryData")):
        voxels = _swapped(voxels, letter)
    matrix = _floats(fields.get("TransformMatrix", "1 0 0 0 1 0 0 0 1"))
    spacing = _floats(fields.get("ElementSpacing", "1 1 1"))
    origin = _floats(fields.get("Offset", fields.get("Position", "0 0 0")))
    signs = (-1.0, -1.0, 1.0)
    affine = [
        [signs[row] * matrix[3 * axis + row] * spacing[axis] for axis in range(3)]
        + [signs[row] * origin[row]]
        for row in range(3)
    ]
    return Image((sizes[0], sizes[1], sizes[2]), kind, affine, voxels)


def write_metaimage(image: Image, path: Path) -> None:
    """Write a .mha file, compressed."""
    signs = (-1.0, -1.0, 1.0)
    columns = [[signs[row] * image.affine[row][axis] for row in range(3)] for axis in range(3)]
    spacing = [math.sqrt(sum(number * number for number in column)) or 1.0 for column in columns]
    matrix = [columns[axis][row] / spacing[axis] for axis in range(3) for row in range(3)]
    origin = [signs[row] * image.affine[row][3] for row in range(3)]
    voxels = zlib.compress(image.voxels, 1)
    header = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"CompressedData = True\nCompressedDataSize = {len(voxels)}\n"
        f"TransformMatrix = {_words(matrix)}\nOffset = {_words(origin)}\nCenterOfRotation = 0 0 0\n"
        f"ElementSpacing = {_words(spacing)}\nDimSize = {' '.join(map(str, image.sizes))}\n"
        f"ElementType = {image.kind}\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(header.encode() + voxels)


def read_nifti(path: Path) -> Image:
    """Read a NIfTI-1 file, packed or not.

    Raises:
        UnreadableImage: It is no volume of plain numbers.
    """
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    order = "<" if content[:4] == struct.pack("<i", _HEADER_BYTES) else ">"
    if content[:4] != struct.pack(f"{order}i", _HEADER_BYTES) or len(content) < _DATA_OFFSET:
        raise UnreadableImage(f"{path.name} is no NIfTI-1 file")
    axes, *dim = struct.unpack_from(f"{order}8h", content, 40)
    (code,) = struct.unpack_from(f"{order}h", content, 70)
    pixdim = struct.unpack_from(f"{order}8f", content, 76)
    offset, slope, intercept = struct.unpack_from(f"{order}3f", content, 108)
    kind = _OF_CODE.get(code, "")
    if not kind or any(size != 1 for size in dim[3:axes]) or (slope, intercept) not in ((0, 0), (1, 0)):
        raise UnreadableImage(f"{path.name} is no label volume of three axes")
    sizes = (dim[0], dim[1] if axes > 1 else 1, dim[2] if axes > 2 else 1)
    _, width, letter = _TYPES[kind]
    voxels = content[int(offset) : int(offset) + math.prod(sizes) * width]
    if len(voxels) != math.prod(sizes) * width:
        raise UnreadableImage(f"{path.name} is truncated")
    affine = _nifti_affine(content, order, pixdim)
    return Image(sizes, kind, affine, _swapped(voxels, letter) if order == ">" else voxels)


def write_nifti(image: Image, path: Path) -> None:
    """Write a .nii.gz file that states its grid as sform and qform."""
    code, width, _ = _TYPES[image.kind]
    header = bytearray(_DATA_OFFSET)
    columns = [[image.affine[row][axis] for row in range(3)] for axis in range(3)]
    spacing = [math.sqrt(sum(number * number for number in column)) or 1.0 for column in columns]
    quaternion, handedness = _quaternion(
        [[columns[axis][row] / spacing[axis] for axis in range(3)] for row in range(3)]
    )
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    struct.pack_into("<8h", header, 40, 3, *image.sizes, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, code, 8 * width)
    struct.pack_into("<8f", header, 76, handedness, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, _DATA_OFFSET, 1, 0)
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 1, 1)
    struct.pack_into("<6f", header, 256, *quaternion, *(image.affine[row][3] for row in range(3)))
    for row in range(3):
        struct.pack_into("<4f", header, 280 + 16 * row, *image.affine[row])
    header[344:348] = b"n+1\0"
    with path.open("wb") as raw, gzip.GzipFile("", "wb", 1, raw, mtime=0) as file:
        file.write(bytes(header) + image.voxels)


def as_bytes(image: Image) -> Image:
    """Return a label volume in one byte a voxel, which every platform takes; as it is if no byte holds it."""
    if image.kind == "MET_UCHAR":
        return image
    numbers = array.array(_TYPES[image.kind][2])
    numbers.frombytes(image.voxels)
    if sys.byteorder == "big":
        numbers.byteswap()
    try:
        voxels = bytes(map(int, numbers))
    except (ValueError, OverflowError):
        return image  # whoever scores it says what is wrong with it
    if numbers.tolist() != list(voxels):
        return image
    return Image(image.sizes, "MET_UCHAR", image.affine, voxels)


def _nifti_affine(content: bytes, order: str, pixdim: tuple[float, ...]) -> Matrix:
    qform, sform = struct.unpack_from(f"{order}2h", content, 252)
    if sform > 0:
        return [list(struct.unpack_from(f"{order}4f", content, 280 + 16 * row)) for row in range(3)]
    if qform <= 0:
        return [[pixdim[1 + axis] if axis == row else 0.0 for axis in range(3)] + [0.0] for row in range(3)]
    b, c, d, *origin = struct.unpack_from(f"{order}6f", content, 256)
    length = b * b + c * c + d * d
    if length > 1 - _HALF_TURN:
        b, c, d = (part / math.sqrt(length) for part in (b, c, d))
    a = math.sqrt(max(0.0, 1 - length)) if length <= 1 - _HALF_TURN else 0.0
    rotation = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ]
    sizes = (pixdim[1], pixdim[2], pixdim[3] * (-1 if pixdim[0] < 0 else 1))
    return [[rotation[row][axis] * sizes[axis] for axis in range(3)] + [origin[row]] for row in range(3)]


def _quaternion(rotation: Matrix) -> tuple[tuple[float, float, float], float]:
    """Return b, c, d of NIfTI's qform for a matrix of directions, and -1 where its third axis is mirrored."""
    (r00, r01, r02), (r10, r11, r12), (r20, r21, r22) = (row[:3] for row in rotation)
    determinant = (
        r00 * (r11 * r22 - r12 * r21) - r01 * (r10 * r22 - r12 * r20) + r02 * (r10 * r21 - r11 * r20)
    )
    handedness = -1.0 if determinant < 0 else 1.0
    r02, r12, r22 = r02 * handedness, r12 * handedness, r22 * handedness
    # Four times the square of each part; the largest comes first, so that nothing is divided by nearly zero.
    squares = (1 + r00 + r11 + r22, 1 + r00 - r11 - r22, 1 - r00 + r11 - r22, 1 - r00 - r11 + r22)
    largest = squares.index(max(squares))
    double = math.sqrt(max(squares))
    a, b, c, d = (
        (double * double, r21 - r12, r02 - r20, r10 - r01),
        (r21 - r12, double * double, r01 + r10, r02 + r20),
        (r02 - r20, r01 + r10, double * double, r12 + r21),
        (r10 - r01, r02 + r20, r12 + r21, double * double),
    )[largest]
    sign = (-1.0 if a < 0 else 1.0) / (2 * double)
    return (b * sign, c * sign, d * sign), handedness


def _swapped(voxels: bytes, letter: str) -> bytes:
    numbers = array.array(letter)
    numbers.frombytes(voxels)
    numbers.byteswap()
    return numbers.tobytes()


def _floats(text: str) -> list[float]:
    return [float(word) for word in text.split()]


def _words(values: list[float]) -> str:
    return " ".join(f"{value + 0.0:.17g}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
