"""The reader: what is no volume gets one clear error, whatever is wrong with it."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import blobs, patched, save, save_image, save_with_sitk

from evaluator import (
    CorruptVolumeError,
    EvaluatorError,
    LabelValueError,
    MissingFileError,
    VolumeTooLargeError,
    compare_geometry,
    read_header,
    read_label_volume,
)


def good(tmp_path: Path, name: str = "good.nii.gz") -> Path:
    return save(tmp_path / name, np.random.default_rng(0).integers(0, 5, (20, 20, 20)).astype(np.uint8))


def refused(path: Path, error: type[EvaluatorError], message: str, **options: object) -> None:
    """Expect one clear error of one line that names the file."""
    with pytest.raises(error, match=message) as caught:
        read_label_volume(path, **options)  # type: ignore[arg-type]
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1.5, 0.998])
def test_values_that_are_no_whole_number(tmp_path: Path, value: float) -> None:
    array = np.zeros((3, 3, 3), np.float64)
    array[1, 1, 1] = value
    refused(save(tmp_path / "a.nii.gz", array), LabelValueError, "no whole number")


def test_numbers_beyond_32_bits(tmp_path: Path) -> None:
    array = np.full((3, 3, 3), 2**40, np.int64)
    refused(
        save_image(nibabel.Nifti1Image(array, np.eye(4), dtype="int64"), tmp_path / "a.nii"),
        LabelValueError,
        "holds the label 1099511627776",
    )


@pytest.mark.parametrize("kept", [0, 1, 10, 200, 0.5, 0.99, -9, -1])
@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii"])
def test_files_cut_short(tmp_path: Path, kept: float, name: str) -> None:
    path = good(tmp_path, name)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    refused(path, CorruptVolumeError, ".")


@pytest.mark.parametrize("place", [0.3, 0.7])
def test_damaged_gzip_streams(tmp_path: Path, place: float) -> None:
    path = good(tmp_path)
    content = bytearray(path.read_bytes())
    for offset in range(8):
        content[int(place * len(content)) + offset] ^= 0xFF
    path.write_bytes(content)
    refused(path, CorruptVolumeError, "damaged|ends before|more data")


def test_a_wrong_checksum(tmp_path: Path) -> None:
    path = good(tmp_path)
    content = bytearray(path.read_bytes())
    content[-6] ^= 0xFF
    path.write_bytes(content)
    refused(path, CorruptVolumeError, "incorrect data check")


def test_a_header_that_promises_more_than_the_file_holds(tmp_path: Path) -> None:
    for name in ("a.nii", "a.nii.gz"):
        path = patched(tmp_path / name, good(tmp_path), (42, "h", 30000), (44, "h", 200))
        refused(path, CorruptVolumeError, "ends before its 30000x200x20 voxels")


def test_a_header_that_promises_less_than_the_file_holds(tmp_path: Path) -> None:
    path = patched(tmp_path / "a.nii.gz", good(tmp_path), (42, "h", 10))
    refused(path, CorruptVolumeError, "more data than its header announces")


def test_a_huge_header_is_refused_before_anything_is_allocated(tmp_path: Path) -> None:
    path = patched(tmp_path / "a.nii.gz", good(tmp_path), *((42 + 2 * axis, "h", 32767) for axis in range(3)))
    tracemalloc.start()
    refused(path, VolumeTooLargeError, "32767x32767x32767 voxels of uint8 needs 33551")
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_a_gzip_bomb_stays_within_the_limit(tmp_path: Path) -> None:
    honest = save(tmp_path / "a.nii", np.zeros((200, 200, 200), np.uint8))
    bomb = tmp_path / "bomb.nii.gz"
    bomb.write_bytes(gzip.compress(honest.read_bytes() + bytes(2**28)))
    tracemalloc.start()
    refused(bomb, CorruptVolumeError, "more data than its header announces", max_bytes=16 * 2**20)
    assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float64])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_the_limit_on_memory_holds_for_every_number_type(tmp_path: Path, dtype: type, name: str) -> None:
    path = save(tmp_path / name, np.ones((200, 200, 200), dtype))
    read_label_volume(path)  # loads the decompressor
    for limit in (150 * 2**20, 80 * 2**20, 32 * 2**20):
        tracemalloc.start()
        assert (read_label_volume(path, max_bytes=limit).array == 1).all()
        assert tracemalloc.get_traced_memory()[1] <= limit
        tracemalloc.stop()
    refused(path, VolumeTooLargeError, "are allowed", max_bytes=200**3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ([(0, "i", 77)], "no NIfTI header"),
        ([(40, "h", 0)], "0 axes"),
        ([(40, "h", 9)], "9 axes"),
        ([(42, "h", 0)], "gives the shape"),
        ([(42, "h", -5)], "shape"),
        ([(40, "h", 4), (48, "h", 3)], "4 axes: 20x20x20x3"),
        ([(70, "h", 128)], "data type 128 is no plain number but RGB"),
        ([(70, "h", 32)], "data type 32 is no plain number but complex"),
        ([(70, "h", 9999)], "data type 9999"),
        ([(80, "f", 0.0), (254, "h", 0)], "voxel size"),
        ([(84, "f", float("nan")), (254, "h", 0)], "voxel size"),
        ([(88, "f", float("inf")), (254, "h", 0)], "voxel size"),
        ([(108, "f", 1e30)], "puts the pixels at"),
        ([(108, "f", float("nan"))], "puts the pixels at"),
        ([(108, "f", -5.0)], "puts the pixels at"),
        ([(280, "f", float("nan"))], "no invertible matrix"),
        ([(280, "f", 0.0)], "no invertible matrix"),
        ([(344, "4s", b"ni1\0")], "another file"),
    ],
)
def test_nonsense_in_nifti_headers(tmp_path: Path, fields: list, message: str) -> None:
    refused(patched(tmp_path / "a.nii.gz", good(tmp_path), *fields), CorruptVolumeError, message)


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mha", "a.nrrd"])
@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"hello", bytes(1000), b"NRRD0004\n", b"NDims = 3\n"])
def test_files_that_are_something_else(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    refused(path, CorruptVolumeError, ".")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("= LOCAL", "= /etc/passwd", "another file"),
        ("= MET_UCHAR", "= MET_STRING", "no plain number"),
        ("DimSize = 9 7 5", "DimSize = 9 x 5", "cannot be read"),
        ("DimSize = 9 7 5", "DimSize = 9 7 6", "ends before"),
        ("CompressedData = False", "CompressedData = True", "damaged"),
        ("BinaryData = True", "BinaryData = False", "as text"),
        ("ElementSpacing = 0.75", "ElementSpacing = -0.75", "voxel size"),
    ],
)
def test_nonsense_in_metaimage_headers(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = save_with_sitk(tmp_path / "a.mha", blobs((9, 7, 5), seed=1))
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    refused(path, CorruptVolumeError, message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("encoding: raw", "encoding: raw\ndata file: /etc/passwd", "another file"),
        ("encoding: raw", "encoding: bzip2", "is not read"),
        ("encoding: raw", "encoding: raw\nline skip: x", "line skip is 'x'"),
        ("encoding: raw", "encoding: raw\nbyte skip: -2", "byte skip is '-2'"),
        ("encoding: raw", "encoding: raw\nline skip: 9999", "more lines than there are"),
        ("encoding: raw", "encoding: raw\nbyte skip: 7", "ends before"),
        ("type: unsigned char", "type: block", "no plain number"),
        ("sizes: 9 7 5", "sizes: 9 7 5 2", "4 axes"),
        ("sizes: 9 7 5", "sizes: 9 7 500", "ends before"),
        ("space directions: (0.75,0,0)", "space directions: (0,0,0)", "voxel size"),
    ],
)
def test_nonsense_in_nrrd_headers(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = save_with_sitk(tmp_path / "a.nrrd", blobs((9, 7, 5), seed=1))
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    refused(path, CorruptVolumeError, message)


def test_what_is_no_readable_file(tmp_path: Path) -> None:
    refused(tmp_path / "missing.nii.gz", MissingFileError, "No such file")
    (tmp_path / "folder.nii.gz").mkdir()
    refused(tmp_path / "folder.nii.gz", MissingFileError, "not a regular file|directory")
    os.mkfifo(tmp_path / "pipe.nii.gz")
    refused(tmp_path / "pipe.nii.gz", MissingFileError, "not a regular file")
    (tmp_path / "a.dcm").write_bytes(b"DICM")
    refused(tmp_path / "a.dcm", CorruptVolumeError, "not a volume file by its name")


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("intact")
    array = blobs((20, 18, 9), seed=1)
    return [
        save(folder / "a.nii", array),
        save(folder / "b.nii.gz", array.astype(np.float32)),
        save_with_sitk(folder / "c.mha", array, compress=True),
        save_with_sitk(folder / "d.nrrd", array, compress=True),
        save_with_sitk(folder / "e.nrrd", array),
    ]


@settings(max_examples=300)
@given(data=st.data())
def test_any_damage_ends_in_a_volume_or_in_one_clear_error(intact: list[Path], data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(intact))
    content = bytearray(source.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(content) - 1, data.draw(st.sampled_from([400, 10**6])))))
        change = data.draw(st.binary(max_size=8))
        cut = data.draw(st.integers(0, 8))
        content[place : place + cut] = change
        content = content or bytearray(b"\0")
    damaged = source.with_name(f"damaged {source.name}")
    damaged.write_bytes(content)
    try:
        volume = read_label_volume(damaged, max_bytes=2**24)
    except EvaluatorError as error:
        assert str(damaged) in str(error) and "\n" not in str(error)
    else:
        compare_geometry(volume, read_header(source))
