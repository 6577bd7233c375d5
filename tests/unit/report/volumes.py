"""Made-up CT volumes with references and predictions, for pictures in reports."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from harness.data.dataset import Dataset, open_dataset


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write a volume; float for images, uint8 for labels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(array, affine), path)


def make_dataset(
    folder: Path, cases: list[str], *, shape: tuple[int, int, int] = (40, 32, 12), axes: str = "LPS"
) -> Dataset:
    """Write a body with two organs per case, stored along the given axes, and open the data set."""
    spacing = (0.9, 0.9, 2.5)
    signs = [1.0 if axis in "RAS" else -1.0 for axis in axes]
    affine = np.diag([*(sign * size for sign, size in zip(signs, spacing, strict=True)), 1.0])
    for number, case in enumerate(cases):
        ct, label = body(shape, seed=number)
        write_volume(folder / "imagesVal" / f"{case}_0000.nii.gz", ct, affine)
        write_volume(folder / "labelsVal" / f"{case}.nii.gz", label, affine)
    return open_dataset(folder)


def body(shape: tuple[int, int, int], *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a CT in Hounsfield units and its labels."""
    generator = np.random.default_rng(seed)
    grid = np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij")
    trunk = (grid[0] / 0.9) ** 2 + (grid[1] / 0.7) ** 2 < 1
    ct = np.where(trunk, 20.0, -1000.0) + generator.normal(0, 12, shape)
    label = np.zeros(shape, dtype=np.uint8)
    for value, (x, y, z, radius) in enumerate([(-0.4, 0.0, 0.2, 0.33), (0.35, 0.2, -0.1, 0.2)], start=1):
        inside = (grid[0] - x) ** 2 + (grid[1] - y) ** 2 + ((grid[2] - z) / 1.5) ** 2 < radius**2
        label[inside] = value
        ct[inside] += 60 * value
    return ct.astype(np.int16), label


def shifted(label_path: Path, path: Path, steps: int) -> None:
    """Write a prediction: the reference, some voxels to the side."""
    image = nib.load(label_path)
    write_volume(path, np.roll(np.asarray(image.dataobj), steps, axis=0), image.affine)
