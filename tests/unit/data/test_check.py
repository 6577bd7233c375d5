"""Every header is read before anything runs, and the file at fault is named."""

import nibabel as nib
import numpy as np
import pytest

from harness.data.check import check_dataset
from harness.data.dataset import open_dataset
from harness.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path):
    """One readable FLARE-layout case of 4 x 5 x 6 voxels."""
    save(tmp_path / "imagesVal" / "a_0000.nii.gz", (4, 5, 6), np.int16)
    save(tmp_path / "labelsVal" / "a.nii.gz", (4, 5, 6), np.uint8)
    return tmp_path


def save(path, shape, dtype):
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(np.zeros(shape, dtype), np.diag([1.0, 1.0, 3.0, 1.0])), path)


def test_a_good_set_passes_and_progress_is_told(folder):
    told = []
    check_dataset(open_dataset(folder), progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 1)]


def test_a_label_of_another_shape_is_refused(folder):
    save(folder / "labelsVal" / "a.nii.gz", (4, 5, 7), np.uint8)
    with pytest.raises(ConfigurationError, match=r"case a has shape 4x5x7, its image 4x5x6"):
        check_dataset(open_dataset(folder))


@pytest.mark.parametrize("damage", [b"", b"no volume at all", b"\x1f\x8b\x08\x00broken"])
def test_an_unreadable_image_is_named(folder, damage):
    (folder / "imagesVal" / "a_0000.nii.gz").write_bytes(damage)
    with pytest.raises(ConfigurationError, match=r"a_0000\.nii\.gz"):
        check_dataset(open_dataset(folder))


def test_a_truncated_header_is_named(folder):
    path = folder / "labelsVal" / "a.nii.gz"
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ConfigurationError, match=r"labelsVal/a\.nii\.gz"):
        check_dataset(open_dataset(folder))
