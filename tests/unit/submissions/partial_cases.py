"""Tiny data sets in FLARE's layout for the tests of segkit.partial."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

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
