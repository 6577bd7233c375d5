"""The reader: every format and oddity that is a volume is read."""

from __future__ import annotations

import gzip
import itertools
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
from volumes import ONE_LABEL, SPACING, blobs, box, patched, save, save_image, save_with_sitk

from evaluator import (
    LabelValueError,
    read_header,
    read_label_volume,
    score_case,
)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("rotated", [False, True])
def test_all_formats_give_one_and_the_same_volume(
    tmp_path: Path, name: str, compress: bool, rotated: bool
) -> None:
    array = blobs((9, 7, 5), seed=1)
    angle = math.radians(20)
    turn = (math.cos(angle), -math.sin(angle), 0, math.sin(angle), math.cos(angle), 0, 0, 0, 1)
    geometry = {"direction": turn} if rotated else {}
    path = save_with_sitk(tmp_path / name, array, compress=compress, **geometry)
    plain = save_with_sitk(tmp_path / "reference.nii", array, **geometry)
    volume, expected = read_label_volume(path), nibabel.load(plain)
    assert np.array_equal(volume.array, array) and volume.array.dtype == np.uint8
    assert volume.spacing_mm == pytest.approx(SPACING, rel=1e-6)
    assert volume.affine == pytest.approx(expected.affine, abs=1e-4)
    assert volume.has_orientation


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_every_number_type_and_byte_order(tmp_path: Path, dtype: str, order: str) -> None:
    array = blobs((9, 7, 5), seed=2)
    header = nibabel.Nifti1Header(endianness=order)
    image = nibabel.Nifti1Image(array.astype(order + dtype), np.eye(4), header)
    image.set_data_dtype(dtype)
    nibabel.save(image, tmp_path / "a.nii.gz")
    volume = read_label_volume(tmp_path / "a.nii.gz")
    assert np.array_equal(volume.array, array) and volume.array.dtype == np.uint8


def test_nifti_2(tmp_path: Path) -> None:
    array = blobs((9, 7, 5), seed=3)
    affine = np.diag([-0.5, 0.75, 3.0, 1.0])
    affine[:3, 3] = 5, 6, 7
    nibabel.save(nibabel.Nifti2Image(array, affine), tmp_path / "a.nii")
    volume = read_label_volume(tmp_path / "a.nii")
    assert np.array_equal(volume.array, array)
    assert volume.affine == pytest.approx(affine)
    assert volume.spacing_mm == (0.5, 0.75, 3.0)


def test_gzip_parts_one_after_the_other(tmp_path: Path) -> None:
    array = blobs((9, 7, 5), seed=4)
    content = save(tmp_path / "a.nii", array).read_bytes()
    cuts = [0, 100, 348, 352, 400, len(content)]
    parts = [gzip.compress(content[a:b]) for a, b in itertools.pairwise(cuts)]
    path = tmp_path / "b.nii.gz"
    path.write_bytes(b"".join(parts))
    assert np.array_equal(read_label_volume(path).array, array)
    path.write_bytes(b"".join(parts) + b"\0" * 512)
    assert np.array_equal(read_label_volume(path).array, array)


def test_the_content_decides_whether_a_nifti_is_packed(tmp_path: Path) -> None:
    array = blobs((9, 7, 5), seed=5)
    plain = save(tmp_path / "a.nii", array)
    (tmp_path / "b.nii.gz").write_bytes(plain.read_bytes())
    (tmp_path / "c.nii").write_bytes(gzip.compress(plain.read_bytes()))
    for name in ("b.nii.gz", "c.nii"):
        assert np.array_equal(read_label_volume(tmp_path / name).array, array)


def test_trailing_singleton_axes_are_dropped_and_missing_ones_added(tmp_path: Path) -> None:
    array = blobs((9, 7, 5), seed=6)
    save(tmp_path / "a.nii.gz", array[..., None, None])
    save(tmp_path / "b.nii.gz", array[:, :, 2])
    assert np.array_equal(read_label_volume(tmp_path / "a.nii.gz").array, array)
    assert np.array_equal(read_label_volume(tmp_path / "b.nii.gz").array, array[:, :, 2:3])


def test_scaling_is_applied_before_rounding(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.arange(24, dtype=np.int16).reshape(4, 3, 2) * 2 - 10, np.eye(4))
    path = patched(
        tmp_path / "b.nii.gz",
        save_image(image, tmp_path / "a.nii"),
        (112, "f", 0.5),
        (116, "f", 5.0),
    )
    assert read_label_volume(path).array.ravel().tolist() == list(range(24))
    unscaled = patched(tmp_path / "c.nii.gz", tmp_path / "a.nii", (112, "f", float("nan")))
    assert read_label_volume(unscaled, casting="truncate").array[0, 0, 0] == 256 - 10


def test_floats_are_rounded_within_a_thousandth_in_exact_and_cut_in_flare(tmp_path: Path) -> None:
    array = np.full((3, 3, 3), 12.9999987, np.float32)
    path = save(tmp_path / "a.nii.gz", array)
    assert (read_label_volume(path).array == 13).all()
    assert (read_label_volume(path, casting="truncate").array == 12).all()
    assert (read_label_volume(path, casting="match").array == 0).all()


def test_values_beyond_eight_bits_are_refused_in_exact_and_wrap_in_flare(tmp_path: Path) -> None:
    array = np.array([0, 1, 255, 256, 257, -1], np.int16).reshape(6, 1, 1)
    path = save(tmp_path / "a.nii.gz", array)
    with pytest.raises(LabelValueError, match="holds the label -1; labels are 0 to 255"):
        read_label_volume(path)
    assert read_label_volume(path, casting="truncate").array.ravel().tolist() == [0, 1, 255, 0, 1, 255]


def test_the_header_alone_says_what_an_image_is(tmp_path: Path) -> None:
    path = save(tmp_path / "ct.nii.gz", np.zeros((5, 4, 3), np.int16), (0.75, 0.75, 2.0))
    header = read_header(path)
    assert (header.shape, header.dtype, header.spacing_mm) == ((5, 4, 3), np.int16, (0.75, 0.75, 2.0))


def test_units_of_metres_and_micrometres_become_millimetres(tmp_path: Path) -> None:
    source = save(tmp_path / "a.nii", np.zeros((3, 3, 3), np.uint8), (0.5, 0.5, 2.0))
    volume = read_label_volume(patched(tmp_path / "b.nii", source, (123, "B", 3)))
    assert volume.spacing_mm == pytest.approx((0.0005, 0.0005, 0.002))
    assert volume.affine is not None and volume.affine[2, 2] == pytest.approx(0.002)


# Orientation and spacing of NIfTI files


def test_pixdim_is_the_spacing_and_a_sform_that_disagrees_is_noted(tmp_path: Path) -> None:
    source = save(tmp_path / "a.nii", box((5, 5, 5), (1, 1, 1), (3, 3, 3)), (1.0, 1.0, 2.0))
    path = patched(tmp_path / "b.nii", source, (76 + 12, "f", 5.0))
    volume = read_label_volume(path)
    assert volume.spacing_mm == (1.0, 1.0, 5.0)
    assert "pixdim's 1x1x5 mm, which is used" in volume.notes[0]
    assert "reference: the sform" in score_case(path, path, labels=ONE_LABEL).notes[0]


def test_the_sform_places_the_volume_and_a_qform_elsewhere_is_noted(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(np.zeros((5, 5, 5), np.uint8), None)
    there, here = np.eye(4), np.eye(4)
    there[0, 3] = 40.0
    image.set_qform(there, code=1)
    image.set_sform(here, code=1)
    volume = read_label_volume(save_image(image, tmp_path / "a.nii"))
    assert volume.affine == pytest.approx(here)
    assert "40 mm apart; the sform is used" in volume.notes[0]


def test_without_a_sform_the_qform_places_the_volume(tmp_path: Path) -> None:
    angle = math.radians(30)
    affine = np.array(
        [
            [-math.cos(angle), -math.sin(angle), 0, 4],
            [-math.sin(angle), math.cos(angle), 0, 5],
            [0, 0, 2.0, 6],
            [0, 0, 0, 1],
        ]
    )
    image = nibabel.Nifti1Image(np.zeros((5, 5, 5), np.uint8), None)
    image.set_qform(affine, code=1)
    image.set_sform(None, code=0)
    volume = read_label_volume(save_image(image, tmp_path / "a.nii"))
    assert volume.affine == pytest.approx(affine, abs=1e-6)


def test_a_sheared_sform_is_read_and_noted(tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    volume = read_label_volume(save(tmp_path / "a.nii", np.zeros((5, 5, 5), np.uint8), affine=affine))
    assert any("sheared" in note for note in volume.notes)


def test_a_file_without_orientation_says_so(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(box((5, 5, 5), (1, 1, 1), (3, 3, 3)), None)
    image.header.set_zooms((1.0, 1.0, 2.0))
    path = save_image(image, tmp_path / "a.nii.gz")
    placed = save(tmp_path / "b.nii.gz", box((5, 5, 5), (1, 1, 1), (3, 3, 3)), (1.0, 1.0, 2.0))
    assert not read_label_volume(path).has_orientation
    score = score_case(placed, path, labels=ONE_LABEL)
    assert score[1].dsc == 1.0
    assert any("does not say where it lies" in note for note in score.notes)
