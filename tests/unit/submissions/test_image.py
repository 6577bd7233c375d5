from __future__ import annotations

import gzip
import itertools
import struct

import numpy as np
import pytest

pytest.importorskip("torch")

import SimpleITK as sitk
from segkit.errors import ImageError
from segkit.image import Orientation, from_image, read_ct, write_labels

SIGNED_PERMUTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def direction_of(axes, signs):
    matrix = np.zeros((3, 3))
    for stored, (world, sign) in enumerate(zip(axes, signs, strict=True)):
        matrix[world, stored] = sign
    return matrix


@pytest.mark.parametrize(("axes", "signs"), SIGNED_PERMUTATIONS)
def test_every_orientation_is_brought_to_lps_as_itk_does_and_back(axes, signs):
    array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    image = sitk.GetImageFromArray(array)
    image.SetDirection(direction_of(axes, signs).ravel())
    image.SetSpacing((1.0, 2.0, 3.0))

    ct = from_image(image)

    expected = sitk.DICOMOrient(image, "LPS")
    assert np.array_equal(ct.array, sitk.GetArrayFromImage(expected))
    assert ct.spacing_mm == pytest.approx(expected.GetSpacing()[::-1])
    assert np.array_equal(ct.orientation.to_stored(ct.array), array)


def test_an_axis_is_never_used_twice_at_45_degrees():
    half = np.sqrt(0.5)
    oblique = (half, -half, 0.0, half, half, 0.0, 0.0, 0.0, 1.0)
    orientation = Orientation.of(oblique)
    assert sorted(orientation.order) == [0, 1, 2]
    array = np.arange(24).reshape(2, 3, 4)
    assert np.array_equal(orientation.to_stored(orientation.to_canonical(array)), array)


def test_labels_are_written_with_the_geometry_of_the_ct(tmp_path):
    angle = 0.3
    direction = (np.cos(angle), -np.sin(angle), 0, -np.sin(angle), -np.cos(angle), 0, 0, 0, -1)
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6), dtype=np.int16))
    image.SetDirection(direction)
    image.SetSpacing((0.7031251, 0.81, 2.5))
    image.SetOrigin((-171.3, 12.25, -999.125))
    path = tmp_path / "case_0000.nii.gz"
    sitk.WriteImage(image, str(path))

    ct = read_ct(path)
    labels = np.zeros(ct.array.shape, dtype=np.uint8)
    labels[0, 0, 0] = 7
    write_labels(tmp_path / "case.nii.gz", labels, like=ct)

    stored, written = sitk.ReadImage(str(path)), sitk.ReadImage(str(tmp_path / "case.nii.gz"))
    assert written.GetPixelID() == sitk.sitkUInt8
    assert written.GetSize() == stored.GetSize()
    assert written.GetSpacing() == stored.GetSpacing()
    assert written.GetOrigin() == stored.GetOrigin()
    # NIfTI keeps a direction as a float32 quaternion.
    assert written.GetDirection() == pytest.approx(stored.GetDirection(), abs=1e-7)
    back = ct.orientation.to_canonical(sitk.GetArrayFromImage(written))
    assert np.array_equal(back, labels)


def test_a_two_dimensional_image_is_a_volume_of_one_slice(tmp_path):
    path = tmp_path / "slice_0000.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((5, 6), dtype=np.int16)), str(path))
    ct = read_ct(path)
    assert ct.array.shape == (1, 5, 6)
    write_labels(tmp_path / "slice.nii.gz", np.ones((1, 5, 6), dtype=np.uint8), like=ct)
    assert sitk.ReadImage(str(tmp_path / "slice.nii.gz")).GetSize() == (6, 5)


def test_of_a_series_the_first_volume_is_taken(tmp_path):
    path = tmp_path / "series_0000.nii.gz"
    volumes = [sitk.GetImageFromArray(np.full((3, 4, 5), value, dtype=np.int16)) for value in (1, 2)]
    sitk.WriteImage(sitk.JoinSeries(volumes), str(path))
    assert np.array_equal(read_ct(path).array, np.ones((3, 4, 5)))


def test_values_that_are_not_finite_become_air_and_huge_ones_are_bounded():
    array = np.zeros((2, 2, 2), dtype=np.float32)
    array[0, 0] = [np.nan, np.inf]
    array[0, 1] = [-np.inf, 1e30]
    ct = from_image(sitk.GetImageFromArray(array))
    assert ct.array.dtype == np.float32
    assert ct.array[0].tolist() == [[-1024, 32767], [-1024, 32767]]


def test_a_file_with_values_that_are_not_finite_is_read(tmp_path):
    array = np.full((2, 2, 2), np.nan)
    path = tmp_path / "case_0000.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(array), str(path))
    assert np.isfinite(read_ct(path).array).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
def test_small_integers_stay_integers(dtype):
    ct = from_image(sitk.GetImageFromArray(np.ones((2, 2, 2), dtype=dtype)))
    assert ct.array.dtype == np.int16


def test_large_unsigned_values_do_not_wrap_around(tmp_path):
    path = tmp_path / "case_0000.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.full((2, 2, 2), 40000, dtype=np.uint16)), str(path))
    assert (read_ct(path).array == 32767).all()


def test_a_sheared_affine_is_read_as_the_nearest_orthogonal_one(tmp_path):
    path = tmp_path / "case_0000.nii.gz"
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), dtype=np.int16)), str(path))
    header = bytearray(gzip.decompress(path.read_bytes()))
    struct.pack_into("<f", header, 88, 2.0)  # pixdim of z
    struct.pack_into("<hh", header, 252, 0, 1)  # qform_code, sform_code
    struct.pack_into("<12f", header, 280, *(1, 0.2, 0, 5), *(0, 1, 0.1, 6), *(0, 0, 2, 7))
    path.write_bytes(gzip.compress(bytes(header)))
    ct = read_ct(path)
    assert ct.array.shape == (4, 5, 6)
    assert ct.spacing_mm == pytest.approx((2.0, 1.0, 1.0), abs=0.1)


def test_a_folder_that_is_not_there_gives_one_clear_line(tmp_path):
    ct = from_image(sitk.GetImageFromArray(np.zeros((2, 3, 4), dtype=np.int16)))
    with pytest.raises(ImageError, match="cannot be written"):
        write_labels(tmp_path / "nowhere/case.nii.gz", np.zeros((2, 3, 4), dtype=np.uint8), like=ct)


def test_a_folder_of_another_user_is_told_with_the_option_of_docker_run(tmp_path, monkeypatch):
    ct = from_image(sitk.GetImageFromArray(np.zeros((2, 3, 4), dtype=np.int16)))
    (tmp_path / "case.nii.gz").mkdir()  # nobody can write there, root neither
    monkeypatch.setattr("segkit.errors.os.access", lambda *_: False)
    with pytest.raises(ImageError, match=r'--user "\$\(id -u\):\$\(id -g\)"'):
        write_labels(tmp_path / "case.nii.gz", np.zeros((2, 3, 4), dtype=np.uint8), like=ct)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x1f\x8b\x08\x00broken"])
def test_a_file_that_is_no_image_gives_one_clear_line(tmp_path, content):
    path = tmp_path / "case_0000.nii.gz"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"case_0000\.nii\.gz: cannot be read") as caught:
        read_ct(path)
    assert "\n" not in str(caught.value)
