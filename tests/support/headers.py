"""Volumes as the usual programs write them, with headers that contradict themselves as those in use do."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

SHAPE = (17, 15, 11)
SIZES_MM = (0.9, 0.7, 3.0)
CORNER_MM = (-31.0, 12.5, 104.0)

DIM, PIXDIM, UNITS, CODES, SFORM = 40, 80, 123, 252, 280
"""Where fields of a NIfTI-1 header lie, in bytes."""

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)


def placed(
    sizes_mm: tuple[float, ...] = SIZES_MM, corner_mm: tuple[float, ...] = CORNER_MM, turned_deg: float = 0.0
) -> NDArray:
    """Return the affine of an upright volume, or of one that is turned about z."""
    cosine, sine = np.cos(np.radians(turned_deg)), np.sin(np.radians(turned_deg))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) * np.array(sizes_mm)
    affine[:3, 3] = corner_mm
    return affine


def scan(seed: int = 0) -> NDArray[np.int16]:
    """Return a volume of noise in Hounsfield units."""
    return np.random.default_rng(seed).integers(-900, 900, SHAPE).astype(np.int16)


def two_organs() -> NDArray[np.uint8]:
    """Return labels 1 and 3, placed so that no flip and no exchange of axes maps them onto themselves."""
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:8, 3:9, 2:7] = 1
    labels[10:15, 2:6, 6:9] = 3
    return labels


def by_nibabel(
    path: Path, array: NDArray, affine: NDArray | None = None, kind: Any = nibabel.Nifti1Image
) -> Path:
    """Write as a nibabel program does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(kind(array, placed() if affine is None else affine), path)
    return path


def by_itk(path: Path, array: NDArray, like: Path) -> Path:
    """Write as a SimpleITK program does: with the geometry of the image that it read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    labels.CopyInformation(SimpleITK.ReadImage(str(like)))
    SimpleITK.WriteImage(labels, str(path))
    return path


def rewrite(path: Path, layout: str, offset: int, *values: float) -> Path:
    """Replace a field of a NIfTI-1 header."""
    stored = path.read_bytes()
    packed = stored.startswith(b"\x1f\x8b")
    content = bytearray(gzip.decompress(stored) if packed else stored)
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(gzip.compress(content) if packed else content)
    return path


def with_forms(
    path: Path,
    array: NDArray,
    *,
    sform: NDArray | None,
    qform: NDArray | None,
    codes: tuple[int, int] = (2, 1),
    pixdim_mm: tuple[float, ...] | None = None,
) -> Path:
    """Write a volume whose header states an sform and a qform; `codes` are theirs in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, None)
    if qform is not None:
        image.set_qform(qform, 1)
    nibabel.save(image, path)
    rewrite(path, "<2h", CODES, codes[1], codes[0])
    if sform is not None:
        rewrite(path, "<12f", SFORM, *sform[:3].ravel())
    if pixdim_mm is not None:
        rewrite(path, "<3f", PIXDIM, *pixdim_mm)
    return path


def in_micrometres(path: Path, array: NDArray) -> Path:
    """Write a volume whose header gives micrometres, and says so."""
    affine = placed(tuple(1000 * size for size in SIZES_MM), (0.0, 0.0, 0.0))
    with_forms(path, array, sform=affine, qform=affine, codes=(1, 1))
    return rewrite(path, "<B", UNITS, 3)


def metaimage(path: Path, array: NDArray, *spellings: tuple[str, str], compressed: bool = False) -> Path:
    """Write labels upright as .mha, then say parts of its header in other words."""
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = SimpleITK.GetImageFromArray(np.ascontiguousarray(array.T))
    labels.SetSpacing(SIZES_MM)
    labels.SetOrigin((-CORNER_MM[0], -CORNER_MM[1], CORNER_MM[2]))
    labels.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    SimpleITK.WriteImage(labels, str(path), compressed)
    content = path.read_bytes()
    for usual, other in spellings:
        assert usual.encode() in content, usual
        content = content.replace(usual.encode(), other.encode(), 1)
    path.write_bytes(content)
    return path


def nrrd(path: Path, array: NDArray, *, of_layers: bool = False, more: tuple[str, ...] = ()) -> Path:
    """Write labels upright as .nrrd; with `of_layers` the first axis counts layers, as in 3D Slicer."""
    path.parent.mkdir(parents=True, exist_ok=True)
    before, kinds = ("none ", "list ") if of_layers else ("", "")
    directions = " ".join(("(-0.9,0,0)", "(0,-0.7,0)", "(0,0,3)"))
    lines = (
        "NRRD0004",
        "type: unsigned char",
        f"dimension: {array.ndim}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(map(str, array.shape))}",
        f"space directions: {before}{directions}",
        f"kinds: {kinds}domain domain domain",
        "encoding: raw",
        f"space origin: ({-CORNER_MM[0]},{-CORNER_MM[1]},{CORNER_MM[2]})",
        *more,
    )
    path.write_bytes("\n".join((*lines, "", "")).encode() + array.astype(np.uint8).tobytes(order="F"))
    return path


def shorten(path: Path, count: int) -> Path:
    """Take bytes off a file's end, as a copy that was interrupted."""
    path.write_bytes(path.read_bytes()[:-count])
    return path
