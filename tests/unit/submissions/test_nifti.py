from __future__ import annotations

import gzip
import struct
import tracemalloc

import nibabel
import numpy as np
import pytest

pytest.importorskip("torch")

import SimpleITK as sitk
from segkit.errors import ImageError
from segkit.image import read_ct, read_labels, write_labels

from evaluator import compare_geometry, read_header, read_label_volume


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


def with_nibabel(path, array_xyz, *, kind=nibabel.Nifti1Image, order="<", affine=None, edits=(), pack=True):
    """Write a file with nibabel, then change fields of its header."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array_xyz.dtype)
    image = kind(
        array_xyz.astype(array_xyz.dtype.newbyteorder(order)), AFFINE if affine is None else affine, header
    )
    image.set_qform(AFFINE, 1)
    content = bytearray(image.to_bytes())
    for layout, offset, *values in edits:
        struct.pack_into(order + layout, content, offset, *values)
    path.write_bytes(gzip.compress(bytes(content)) if pack else bytes(content))
    return path


AFFINE = np.array([[-0.75, 0, 0, 12.5], [0, 0.8, 0, -33.25], [0, 0, 2.5, 7.125], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_every_number_type_is_read_from_both_versions_and_byte_orders(tmp_path, dtype, order, kind):
    array = np.abs(noise()).T % 100
    path = with_nibabel(tmp_path / "a_0000.nii.gz", array.astype(dtype), kind=kind, order=order)
    ct = read_ct(path)
    assert np.array_equal(ct.orientation.to_stored(ct.array), array.T)
    assert ct.array.dtype == (np.int16 if dtype in ("u1", "i1", "i2") else np.float32)
    assert np.array_equal(read_labels(path), array.T)
    assert ct.spacing_mm == pytest.approx((2.5, 0.8, 0.75))


@pytest.mark.parametrize("dtype", ["i2", "f4"])
def test_scaled_values_are_hounsfield_units(tmp_path, dtype):
    scaling = ("2f", 112, 2.0, -5.0)
    path = with_nibabel(tmp_path / "a_0000.nii.gz", noise().T.astype(dtype), edits=[scaling])
    ct = read_ct(path)
    assert np.array_equal(ct.orientation.to_stored(ct.array), noise() * 2.0 - 5.0)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "A.NII.GZ"])
@pytest.mark.parametrize("pack", [False, True])
def test_the_content_decides_how_a_file_is_packed(tmp_path, name, pack):
    ct = read_ct(with_nibabel(tmp_path / name, noise().T, pack=pack))
    assert np.array_equal(ct.orientation.to_stored(ct.array), noise())


def test_a_file_of_many_gzip_members_is_read(tmp_path):
    path = write(tmp_path / "a_0000.nii.gz", noise((40, 50, 60)))
    whole = gzip.decompress(path.read_bytes())
    path.write_bytes(
        b"".join(gzip.compress(whole[start : start + 9999]) for start in range(0, len(whole), 9999))
    )
    ct = read_ct(path)
    assert np.array_equal(ct.orientation.to_stored(ct.array), noise((40, 50, 60)))


HEADERS = {
    "plain": {},
    "NIfTI-2": {"kind": nibabel.Nifti2Image},
    "two-dimensional": {"shape": (7, 6)},
    "two-dimensional and upright": {"shape": (7, 6), "affine": AFFINE[:, [1, 2, 0, 3]]},
    "one slice": {"shape": (7, 6, 1)},
    "a fourth size of zero": {"edits": [("8h", 40, 4, 7, 6, 5, 0, 0, 0, 0)]},
    "leading axes": {"shape": (1, 1, 7, 6, 5)},
    "no forms": {"edits": [("2h", 252, 0, 0)]},
    "NaN in the sform": {"edits": [("f", 280, float("nan"))]},
    "a sform of zeros": {"edits": [("12f", 280, *[0.0] * 12)]},
    "microns": {"edits": [("B", 123, 3)]},
    "metres": {"edits": [("B", 123, 1)]},
    "pixdim of zero": {"edits": [("3f", 80, 0.0, 0.0, 0.0)]},
    "pixdim of NaN": {"edits": [("f", 88, float("nan"))]},
    "pixdim of infinity": {"edits": [("f", 88, float("inf"))]},
    "pixdim far too large": {"edits": [("3f", 80, 1e7, 1e7, 1e7)]},
    "pixdim far too small": {"edits": [("3f", 80, 1e-6, 1e-3, 1e-6)]},
    "pixdim of a kilometre in z": {"edits": [("f", 88, 1e6)]},
    "both forms apart": {"edits": [("f", 292, 55.0)]},
}


@pytest.mark.parametrize("name", HEADERS)
def test_what_the_gate_accepts_is_read_and_its_labels_pass_the_gate(tmp_path, name):
    options = dict(HEADERS[name])
    array = np.arange(np.prod(options.get("shape", (7, 6, 5))), dtype=np.int16)
    array = array.reshape(options.pop("shape", (7, 6, 5)), order="F")
    path = with_nibabel(tmp_path / "a_0000.nii.gz", array, **options)
    ct = read_ct(path)
    assert all(0.05 <= size <= 50 for size in ct.spacing_mm)
    labels = (ct.array % 3).astype(np.uint8)
    write_labels(tmp_path / "a.nii.gz", labels, like=ct)
    diagnosis = compare_geometry(read_header(path), read_header(tmp_path / "a.nii.gz"))
    assert diagnosis.kind == "same"
    stored = read_label_volume(tmp_path / "a.nii.gz").array
    assert np.array_equal(stored.ravel("F"), array.ravel("F") % 3)


@pytest.mark.parametrize(
    ("name", "taken"),
    [("microns", (2.5, 0.8, 0.75)), ("metres", (2.5, 0.8, 0.75)), ("pixdim far too large", (1, 1, 1))],
)
def test_an_implausible_voxel_size_is_replaced_and_said(tmp_path, caplog, name, taken):
    ct = read_ct(with_nibabel(tmp_path / "a_0000.nii.gz", noise().T, **HEADERS[name]))
    assert ct.spacing_mm == pytest.approx(taken)
    (line,) = caplog.messages
    assert line.startswith("a_0000.nii.gz: voxels of") and "taken as" in line


@pytest.mark.parametrize(
    ("code", "said"), [(128, "RGB"), (2304, "RGBA"), (32, "complex"), (1792, "complex"), (1, "single bits")]
)
def test_colours_and_complex_numbers_are_refused_by_name(tmp_path, code, said):
    path = with_nibabel(tmp_path / "a_0000.nii.gz", noise().T, edits=[("h", 70, code)])
    with pytest.raises(ImageError, match=f"it holds {said}"):
        read_ct(path)


def test_colours_in_other_formats_are_refused_as_well(tmp_path):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(ImageError, match="it holds vector"):
        read_ct(tmp_path / "a.mha")


@pytest.mark.parametrize("pack", [False, True])
def test_a_header_that_lies_about_its_size_costs_nothing(tmp_path, pack):
    for sizes, said in [((20000, 20000, 20000), "asks for"), ((3000, 3000, 90), "shorter than its header")]:
        edit = ("8h", 40, 3, *sizes, 1, 1, 1, 1)
        path = with_nibabel(tmp_path / "a_0000.nii.gz", noise().T, edits=[edit], pack=pack)
        tracemalloc.start()
        with pytest.raises(ImageError, match=said):
            read_ct(path)
        assert tracemalloc.get_traced_memory()[1] < 2**23
        tracemalloc.stop()


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
    with pytest.raises(ImageError, match="cannot be read as an image"):
        read_ct(path)


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
