"""Tiny label volumes and files for these tests."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK
from numpy.typing import NDArray

from evaluator import Label, LabelTable, LabelVolume

SPACING = (0.75, 1.5, 2.5)
"""What `save_with_sitk` writes, in mm."""

ONE_LABEL = LabelTable("test", (Label(1, "thing", 2.0),))


def table(*tolerances_mm: float) -> LabelTable:
    """Return a table of labels 1, 2, ... with these tolerances."""
    return LabelTable(
        "test", tuple(Label(value, f"thing {value}", mm) for value, mm in enumerate(tolerances_mm, 1))
    )


def volume(array: NDArray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> LabelVolume:
    """Return an array on axes x, y, z as a label volume."""
    return LabelVolume(np.asfortranarray(array.astype(np.uint8)), spacing)


def box(
    shape: tuple[int, int, int], low: tuple[int, int, int], high: tuple[int, int, int], label: int = 1
) -> NDArray[np.uint8]:
    """Return a volume with one box of a label, `high` not included."""
    array = np.zeros(shape, np.uint8)
    array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = label
    return array


def save(
    path: Path,
    array: NDArray,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    affine: NDArray | None = None,
) -> Path:
    """Write a NIfTI file and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(array, np.diag([*spacing, 1.0]) if affine is None else affine)
    nibabel.save(image, path)
    return path


def blobs(shape: tuple[int, int, int], *, seed: int, labels: int = 14) -> NDArray[np.uint8]:
    """Return boxes of random labels and sizes, later ones over earlier ones."""
    random = np.random.default_rng(seed)
    array = np.zeros(shape, np.uint8)
    for label in random.permutation(labels) + 1:
        low = [int(random.integers(0, size)) for size in shape]
        high = [
            first + int(random.integers(1, max(2, size // 2))) for first, size in zip(low, shape, strict=True)
        ]
        array[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = label
    return array


def save_with_sitk(path: Path, array: NDArray, *, compress: bool = False, **geometry: tuple) -> Path:
    """Write a file with SimpleITK and return its path."""
    image = SimpleITK.GetImageFromArray(array.T)
    image.SetSpacing(SPACING)
    image.SetOrigin(geometry.get("origin", (10.0, -20.0, 30.0)))
    image.SetDirection(geometry.get("direction", (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    SimpleITK.WriteImage(image, str(path), compress)
    return path


def patched(path: Path, source: Path, *fields: tuple[int, str, object]) -> Path:
    """Copy a .nii file with header fields overwritten: (offset, struct layout, value)."""
    content = bytearray(
        gzip.decompress(source.read_bytes()) if source.suffix == ".gz" else source.read_bytes()
    )
    for offset, layout, value in fields:
        struct.pack_into("<" + layout, content, offset, value)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def save_image(image: nibabel.Nifti1Image, path: Path) -> Path:
    """Write an image of nibabel and return its path."""
    nibabel.save(image, path)
    return path
