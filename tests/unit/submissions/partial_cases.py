"""Tiny data sets in FLARE's layout for the tests of segkit.partial."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from .conftest import make_body_hu

SHAPE = (3, 4, 5)
# Oblique and off centre: a file that lost its geometry cannot go unnoticed.
SPACING_MM, ORIGIN_MM = (0.8, 0.7, 2.5), (-120.5, 33.25, -700.0)
DIRECTION = (0.8, -0.6, 0.0, 0.6, 0.8, 0.0, 0.0, 0.0, -1.0)


def write_image(path: Path, array, spacing=SPACING_MM, origin=ORIGIN_MM, direction=DIRECTION) -> Path:
    """Write an array (z, y, x) as it is."""
    image = sitk.GetImageFromArray(np.asarray(array))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(direction)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), useCompression=True)
    return path


def label_map(**voxels) -> np.ndarray:
    """A label map whose first voxels hold the given values: label_map(values=[1, 2])."""
    array = np.zeros(SHAPE, dtype=voxels.get("dtype", np.uint8))
    values = voxels["values"]
    array.ravel()[: len(values)] = values
    return array


def make_data(folder: Path, labels: dict[str, list | None], annotated: dict | None = None) -> Path:
    """A data set: for each case the first voxels of its label map, None for no label file."""
    for case, values in labels.items():
        write_image(folder / "imagesTr" / f"{case}_0000.nii.gz", np.zeros(SHAPE, np.int16))
        if values is not None:
            write_image(folder / "labelsTr" / f"{case}.nii.gz", label_map(values=values))
    if annotated is not None:
        (folder / "dataset.json").write_text(json.dumps({"annotated": annotated}))
    return folder


def make_patients(folder: Path, annotated: dict[str, list[int]]) -> Path:
    """Cases with a block for each organ and a tumour in the liver; labels show what is annotated."""
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number, (case, values) in enumerate(annotated.items()):
        image, labels = patient(number)
        write_patient(image, folder / f"imagesTr/{case}_0000.nii.gz")
        if values:
            write_patient(np.where(np.isin(labels, values), labels, 0), folder / f"labelsTr/{case}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({"annotated": annotated}))
    return folder


def patient(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """A CT in Hounsfield units and its 14 labels, 16 x 48 x 48 voxels."""
    image = make_body_hu((16, 48, 48), seed=seed)
    labels = np.zeros(image.shape, dtype=np.uint8)
    for value in range(1, 14):
        row, column = divmod(value - 1, 4)
        labels[2:14, 9 + 8 * row : 15 + 8 * row, 9 + 8 * column : 15 + 8 * column] = value
    labels[6:10, 10:13, 10:13] = 14
    image[labels > 0] += (10 * labels[labels > 0]).astype(np.int16)
    return image, labels


def write_patient(array: np.ndarray, path: Path) -> None:
    """Write an array of `patient`."""
    write_image(path, array, (2.0, 2.0, 4.0), (-40.0, -50.0, 700.0), tuple(np.eye(3).ravel()))
