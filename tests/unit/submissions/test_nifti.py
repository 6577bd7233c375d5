from __future__ import annotations

import gzip
import struct

import numpy as np
import pytest

pytest.importorskip("torch")

import SimpleITK as sitk
from segkit import nifti
from segkit.errors import ImageError
from segkit.image import read_ct, read_labels, write_labels


def write(path, array, spacing=(0.75, 0.8, 2.5)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((-120.5, 33.25, 7.125))
    image.SetDirection((-1, 0, 0, 0, 0, 1, 0, 1, 0))
    sitk.WriteImage(image, str(path))
    return path


def noise(shape=(5, 6, 7), dtype=np.int16):
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(dtype)


def changed(path, edit):
    """Edit the unpacked bytes of a file."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    edit(content)
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def test_a_plain_file_is_read_as_simpleitk_reads_it(tmp_path):
    array = noise()
    path = write(tmp_path / "a_0000.nii.gz", array)
    plain = nifti.read_plain(path)
    assert np.array_equal(plain.array, array)
    ct = read_ct(path)
    assert ct.nifti_header is not None
    assert np.array_equal(ct.orientation.to_stored(ct.array), array)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.float32, np.float64])
def test_other_kinds_of_voxels_are_left_to_simpleitk(tmp_path, dtype):
    path = write(tmp_path / "a_0000.nii.gz", np.abs(noise()).astype(dtype) % 100)
    assert nifti.read_plain(path) is None
    assert read_ct(path).nifti_header is None


def test_scaled_values_are_left_to_simpleitk(tmp_path):
    path = write(tmp_path / "a_0000.nii.gz", noise())
    changed(path, lambda content: struct.pack_into("<ff", content, 112, 2.0, -5.0))
    assert nifti.read_plain(path) is None
    assert read_ct(path).array.max() == pytest.approx(2.0 * noise().max() - 5.0)


def test_a_file_of_many_gzip_members_is_read(tmp_path):
    path = write(tmp_path / "a_0000.nii.gz", noise((40, 50, 60)))
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(
        b"".join(gzip.compress(whole[start : start + 9999]) for start in range(0, len(whole), 9999))
    )
    assert np.array_equal(nifti.read_plain(path).array, noise((40, 50, 60)))


@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_file_is_none_of_ours(tmp_path, keep):
    path = write(tmp_path / "a_0000.nii.gz", noise((20, 30, 40)))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    assert nifti.read_plain(path) is None


@pytest.mark.parametrize("kind", [np.int16, np.uint8, np.float32])
@pytest.mark.parametrize("keep", [0.3, 0.9, 0.999])
def test_a_truncated_ct_or_label_is_refused_and_never_completed(tmp_path, keep, kind):
    path = tmp_path / "a_0000.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(noise((20, 30, 40)).astype(kind)), str(path))
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    for read in (read_ct, read_labels):
        with pytest.raises(ImageError, match=r"a_0000\.nii\.gz: cannot be read as an image"):
            read(path)


def test_a_damaged_checksum_is_noticed(tmp_path):
    path = write(tmp_path / "a_0000.nii.gz", noise((20, 30, 40)))
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(bytes(content))
    assert nifti.read_plain(path) is None


def test_labels_are_written_with_the_bytes_of_the_cts_geometry(tmp_path):
    path = write(tmp_path / "a_0000.nii.gz", noise())
    ct = read_ct(path)
    labels = np.arange(ct.array.size, dtype=np.uint8).reshape(ct.array.shape)
    write_labels(tmp_path / "a.nii.gz", labels, like=ct)

    image, written = (
        gzip.decompress((tmp_path / name).read_bytes()) for name in ("a_0000.nii.gz", "a.nii.gz")
    )
    assert written[40:56] == image[40:56]  # sizes
    assert written[76:108] == image[76:108]  # voxel sizes
    assert written[252:328] == image[252:328]  # both transforms
    stored = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert stored.GetPixelID() == sitk.sitkUInt8
    assert np.array_equal(ct.orientation.to_canonical(sitk.GetArrayFromImage(stored)), labels)
