"""Tiny data sets for the command line's tests."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


@pytest.fixture
def small_dataset():
    """Write one FLARE-layout case of 8 x 8 x 8 voxels with a liver in it."""

    def write(folder: Path) -> Path:
        image = np.full((8, 8, 8), -1000, np.int16)
        label = np.zeros((8, 8, 8), np.uint8)
        label[2:6, 2:6, 2:6] = 1
        image[label == 1] = 100
        for path, array in (("imagesVal/a_0000.nii.gz", image), ("labelsVal/a.nii.gz", label)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(array, np.diag([3.0, 3.0, 3.0, 1.0])), folder / path)
        return folder

    return write
