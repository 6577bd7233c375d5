"""Images as MetaImages: ITK reads the voxels and the grid that the NIfTI states."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from evaluator.geometry import compare_geometry
from evaluator.volume import read_header
from harness.data.metaimage import metaimage_of


def turned() -> np.ndarray:
    """Oblique, flipped and with its axes swapped."""
    angle = 0.3
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )[:, [1, 0, 2]]
    matrix = np.eye(4)
    matrix[:3, :3] = rotation @ np.diag([0.7, 1.3, -2.5])
    matrix[:3, 3] = (-31.0, 12.5, 100.25)
    return matrix


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32, np.int32, np.float64, np.uint16])
def test_itk_reads_the_same_voxels_on_the_same_grid(tmp_path, kind):
    array = np.random.default_rng(3).integers(0, 200, (5, 4, 3)).astype(kind)
    source, target = tmp_path / "image.nii.gz", tmp_path / "image.mha"
    nib.save(nib.Nifti1Image(array, turned()), source)
    target.write_bytes(metaimage_of(source))
    image = sitk.ReadImage(target)
    assert np.array_equal(sitk.GetArrayFromImage(image).transpose(2, 1, 0), array)
    expected = sitk.ReadImage(source)
    assert image.GetSpacing() == pytest.approx(expected.GetSpacing(), abs=1e-5)
    assert image.GetOrigin() == pytest.approx(expected.GetOrigin(), abs=1e-4)
    assert image.GetDirection() == pytest.approx(expected.GetDirection(), abs=1e-5)
    assert compare_geometry(read_header(source), read_header(target)).kind == "same"


def test_slope_and_intercept_are_applied(tmp_path):
    image = nib.Nifti1Image(np.arange(24, dtype=np.int16).reshape(2, 3, 4), np.eye(4))
    image.header.set_slope_inter(2, -1024)
    nib.save(image, tmp_path / "image.nii.gz")
    (tmp_path / "image.mha").write_bytes(metaimage_of(tmp_path / "image.nii.gz"))
    read = sitk.ReadImage(tmp_path / "image.mha")
    assert read.GetPixelIDTypeAsString() == "16-bit signed integer"
    stored = nib.load(tmp_path / "image.nii.gz")
    assert np.array_equal(sitk.GetArrayFromImage(read).transpose(2, 1, 0), stored.get_fdata())
