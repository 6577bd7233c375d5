"""Tiny label volumes and files for these tests."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from evaluator import Label, LabelTable, LabelVolume

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
