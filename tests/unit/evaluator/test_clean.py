"""A repaired file has one place for every reader, and the same voxels bit by bit."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from numpy.typing import NDArray
from test_stated_grids import SHAPE, SIZES, VARIANTS, affines, labels

from evaluator import read_header
from evaluator.clean import write_clean
from evaluator.geometry import compare_geometry, readers_disagree


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_reader_finds_a_repaired_file_at_the_same_place(tmp_path: Path, variant: str) -> None:
    array = (np.arange(np.prod(VARIANTS[variant].shape)) - 7).astype(np.int16)
    array = array.reshape(VARIANTS[variant].shape, order="F")
    source = VARIANTS[variant].write(tmp_path / "a.nii", array)
    write_clean(source, tmp_path / "b.nii.gz")
    header = read_header(tmp_path / "b.nii.gz")
    assert readers_disagree(header) == () and header.has_orientation
    assert not any("apart" in note or "sheared" in note or "used" in note for note in header.notes)
    image, other = nibabel.load(tmp_path / "b.nii.gz"), SimpleITK.ReadImage(str(tmp_path / "b.nii.gz"))
    assert np.asanyarray(image.dataobj).ravel("F").tolist() == array.ravel("F").tolist()
    assert image.affine == pytest.approx(header.affine, rel=1e-6)
    to_itk = np.diag([-1.0, -1.0, 1.0]) @ header.affine[:3]
    directions = np.array(other.GetDirection()).reshape(3, 3) * other.GetSpacing()
    assert directions == pytest.approx(to_itk[:, :3], abs=1e-4)
    assert other.GetOrigin() == pytest.approx(tuple(to_itk[:, 3]), rel=1e-6, abs=1e-3)
    assert compare_geometry(read_header(source), header).kind == "same" or "shear" in variant


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "f4", "i8"])
def test_stored_numbers_and_their_scaling_stay(tmp_path: Path, dtype: str, order: str) -> None:
    header = nibabel.Nifti2Header(endianness=order)
    image = nibabel.Nifti2Image(labels().astype(order + dtype), np.diag([*SIZES, 1.0]), header, dtype=dtype)
    image.header.set_slope_inter(2.0, 3.0)
    nibabel.save(image, tmp_path / "a.nii.gz")
    write_clean(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    before, after = nibabel.load(tmp_path / "a.nii.gz"), nibabel.load(tmp_path / "b.nii.gz")
    assert isinstance(after, nibabel.Nifti1Image)
    assert np.array_equal(before.get_fdata(), after.get_fdata())
    assert after.header.get_data_dtype() == np.dtype(order + dtype)


def test_other_formats_become_nifti(tmp_path: Path) -> None:
    image = SimpleITK.GetImageFromArray(labels().T)
    image.SetSpacing(SIZES)
    image.SetOrigin((1.0, 2.0, 3.0))
    for name in ("a.mha", "a.nrrd"):
        SimpleITK.WriteImage(image, str(tmp_path / name), True)
        write_clean(tmp_path / name, tmp_path / "b.nii.gz")
        assert (
            compare_geometry(read_header(tmp_path / name), read_header(tmp_path / "b.nii.gz")).text
            == "same grid"
        )
        assert np.array_equal(np.asanyarray(nibabel.load(tmp_path / "b.nii.gz").dataobj), labels())


@settings(max_examples=100)
@given(affine=affines())
def test_sform_and_qform_of_a_repaired_file_are_one(
    tmp_path_factory: pytest.TempPathFactory, affine: NDArray
) -> None:
    folder = tmp_path_factory.mktemp("clean")
    nibabel.save(nibabel.Nifti1Image(np.zeros(SHAPE, np.uint8), affine), folder / "a.nii")
    write_clean(folder / "a.nii", folder / "b.nii.gz")
    header = nibabel.load(folder / "b.nii.gz").header
    assert header.get_qform() == pytest.approx(header.get_sform(), abs=0.01)


def test_nothing_is_left_behind_where_the_source_is_damaged(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(labels(), np.eye(4)), tmp_path / "a.nii.gz")
    content = (tmp_path / "a.nii.gz").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(content[:-20])
    with pytest.raises(Exception, match="ends before"):
        write_clean(tmp_path / "a.nii.gz", tmp_path / "b.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.nii.gz"]
