"""MetaImage and NRRD are read in every spelling as ITK reads them; what is something else is named."""

from __future__ import annotations

import bz2
import gzip
import io
import itertools
import lzma
import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import blobs, save

from evaluator import CorruptVolumeError, EvaluatorError, read_header, read_label_volume
from evaluator.inflate import GzipParts

ARRAY = blobs((9, 7, 5), seed=1)
TURN = "0 1 0 -1 0 0 0 0 1"

SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)


def metaimage(
    path: Path, *lines: str, pixels: bytes = ARRAY.tobytes(order="F"), sizes: str = "9 7 5"
) -> Path:
    """Write a MetaImage whose header has these lines between the fixed ones."""
    head = ["ObjectType = Image", f"NDims = {len(sizes.split())}", *lines, f"DimSize = {sizes}"]
    head += ["ElementType = MET_UCHAR", "ElementDataFile = LOCAL"]
    path.write_bytes("\n".join(head).encode() + b"\n" + pixels)
    return path


def assert_as_itk_reads_it(path: Path) -> None:
    image = SimpleITK.ReadImage(str(path))
    volume = read_label_volume(path)
    axes = image.GetDimension()
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.affine
    directions = np.array(image.GetDirection()).reshape(axes, axes) * image.GetSpacing()
    assert np.array_equal(volume.array.squeeze(), SimpleITK.GetArrayFromImage(image).T.squeeze())
    assert lps[:axes, :axes] == pytest.approx(directions)
    assert lps[:axes, 3] == pytest.approx(image.GetOrigin())
    assert volume.spacing_mm[:axes] == pytest.approx(image.GetSpacing())


SPELLINGS = {
    "TransformMatrix": [f"TransformMatrix = {TURN}"],
    "Orientation": [f"Orientation = {TURN}"],
    "Rotation": [f"Rotation = {TURN}"],
    "two matrices": [f"Rotation = {TURN}", "TransformMatrix = 1 0 0 0 1 0 0 0 1"],
    "two matrices, the other way": ["Orientation = 1 0 0 0 1 0 0 0 1", f"Rotation = {TURN}"],
    "Offset": ["Offset = 1 2 3"],
    "Origin": ["Origin = 1 2 3"],
    "Position": ["Position = 1 2 3"],
    "three origins": ["Offset = 1 2 3", "Origin = 4 5 6", "Position = 7 8 9"],
    "two origins": ["Position = 7 8 9", "Offset = 1 2 3"],
    "ElementSize": ["ElementSize = 1 2 3"],
    "size and spacing": ["ElementSpacing = 1 2 3", "ElementSize = 4 5 6"],
    "colons": ["ElementSpacing : 1 2 3", "Offset: 1 2 3"],
    "binary is 1": ["BinaryData = 1"],
    "binary is T": ["BinaryData = T"],
    "header at the end": ["BinaryData = True", "HeaderSize = -1"],
    "no header size": ["BinaryData = True", "HeaderSize = 0"],
    "a comment": ["Comment = anything = at all", "BinaryData = True"],
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_metaimage_is_read_as_itk_reads_it(tmp_path: Path, spelling: str) -> None:
    lines = SPELLINGS[spelling]
    binary = [] if any("BinaryData" in line for line in lines) else ["BinaryData = True"]
    assert_as_itk_reads_it(metaimage(tmp_path / "a.mha", *binary, *lines))


@pytest.mark.parametrize("word", ["True", "true", "1", "T"])
def test_a_compressed_metaimage_may_say_so_in_many_ways(tmp_path: Path, word: str) -> None:
    packed = zlib.compress(ARRAY.tobytes(order="F"))
    lines = ("BinaryData = True", f"CompressedData = {word}", f"CompressedDataSize = {len(packed)}")
    assert_as_itk_reads_it(metaimage(tmp_path / "a.mha", *lines, pixels=packed))


def test_a_metaimage_has_two_or_four_axes_as_well(tmp_path: Path) -> None:
    flat = metaimage(tmp_path / "a.mha", "BinaryData = True", "Offset = 1 2", sizes="9 35")
    assert_as_itk_reads_it(flat)
    many = metaimage(tmp_path / "b.mha", "BinaryData = True", "Offset = 1 2 3 0", sizes="9 7 5 1")
    assert read_header(many).shape == (9, 7, 5)


def test_a_header_of_a_given_length_is_skipped(tmp_path: Path) -> None:
    path = metaimage(tmp_path / "a.mha", "BinaryData = True", "HeaderSize = 400")
    content = path.read_bytes()
    head = content[: -ARRAY.size]
    path.write_bytes(head + bytes(400 - len(head)) + content[-ARRAY.size :])
    assert_as_itk_reads_it(path)


def nrrd(path: Path, *lines: str, sizes: str = "9 7 5", pixels: bytes = ARRAY.tobytes(order="F")) -> Path:
    """Write a NRRD with these lines in its header."""
    head = ["NRRD0004", "type: uchar", f"dimension: {len(sizes.split())}", f"sizes: {sizes}", *lines]
    encoding = [] if any("encoding" in line for line in lines) else ["encoding: raw"]
    path.write_bytes("\n".join([*head, *encoding]).encode() + b"\n\n" + pixels)
    return path


LPS = ("space: left-posterior-superior", "space directions: (0.8,0,0) (0,0.9,0) (0,0,2.5)")


@pytest.mark.parametrize(
    "lines",
    [
        (*LPS, "space origin: (1,2,3)"),
        ("space: right-anterior-superior", LPS[1], "space origin: (1,2,3)"),
        ("space: LPS", "space directions: (0,-0.8,0) (0.9,0,0) (0,0,2.5)", "space origin: (1, 2, 3)"),
        (*LPS, "space origin: (1,2,3)", "kinds: domain domain domain", 'space units: "mm" "mm" "mm"'),
        (*LPS, "space origin: (1,2,3)", "encoding: gzip"),
        (*LPS, "# a comment", "name:=value: 3", "space origin: (1,2,3)"),
        (*LPS, "space origin: (1,2,3)", "byte skip: 0", "line skip: 0"),
        (*LPS, "space origin: (1,2,3)", "byte skip: -1"),
    ],
)
def test_a_nrrd_is_read_as_itk_reads_it(tmp_path: Path, lines: tuple[str, ...]) -> None:
    pixels = ARRAY.tobytes(order="F")
    packed = gzip.compress(pixels) if "encoding: gzip" in lines else pixels
    assert_as_itk_reads_it(nrrd(tmp_path / "a.nrrd", *lines, pixels=packed))


def test_lines_and_bytes_before_the_pixels_are_skipped(tmp_path: Path) -> None:
    pixels = ARRAY.tobytes(order="F")
    for lines, content in [
        (("line skip: 2",), b"one\ntwo\n" + pixels),
        (("byte skip: 5",), b"12345" + pixels),
        (("lineskip: 1", "byteskip: 5"), b"one\n12345" + pixels),
        (("byte skip: 5", "encoding: gzip"), gzip.compress(b"12345" + pixels)),
    ]:
        path = nrrd(tmp_path / "a.nrrd", *LPS, *lines, pixels=content)
        assert np.array_equal(read_label_volume(path).array, ARRAY)


@pytest.mark.parametrize(
    ("lines", "sizes"),
    [
        (("kinds: list domain domain domain", LPS[0], "space directions: none" + LPS[1][17:]), "1 9 7 5"),
        (("kinds: domain domain domain list", LPS[0], LPS[1] + " none"), "9 7 5 1"),
        (("kinds: list domain domain domain", "spacings: nan 0.8 0.9 2.5"), "1 9 7 5"),
    ],
)
def test_a_segmentation_of_one_layer_is_read(tmp_path: Path, lines: tuple[str, ...], sizes: str) -> None:
    volume = read_label_volume(nrrd(tmp_path / "a.SEG.nrrd", *lines, sizes=sizes))
    assert np.array_equal(volume.array, ARRAY)
    assert volume.spacing_mm == pytest.approx((0.8, 0.9, 2.5))


@pytest.mark.parametrize("kind", ["list", "vector"])
def test_a_segmentation_of_several_layers_is_refused_by_name(tmp_path: Path, kind: str) -> None:
    lines = (f"kinds: {kind} domain domain domain", LPS[0], "space directions: none" + LPS[1][17:])
    path = nrrd(tmp_path / "a.seg.nrrd", *lines, sizes="3 3 7 5")
    with pytest.raises(CorruptVolumeError, match="3 layers, as segments that overlap"):
        read_label_volume(path)


# What is something else

STREAM = b"\x5c\x01" + bytes(400)
OTHERS = {
    "compressed twice": gzip.compress(gzip.compress(STREAM)),
    "bzip2": bz2.compress(STREAM),
    "xz": lzma.compress(STREAM),
    "zstd": b"\x28\xb5\x2f\xfd" + bytes(60),
    r"a web page \(HTML\)": b"\r\n <!DOCTYPE HTML><html>too many downloads</html>",
    "a zip archive": b"PK\x03\x04" + bytes(60),
    "a DICOM file": bytes(128) + b"DICM" + bytes(400),
    "a NumPy array": b"\x93NUMPY\x01\0" + bytes(60),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(600),
    "a Git LFS pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
    "empty": b"",
    "only zeros": bytes(2000),
    "NRRD": b"NRRD0004\n",
    "AppleDouble": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        " + bytes(300),
}


@pytest.mark.parametrize("said", OTHERS)
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_something_else_is_named(tmp_path: Path, said: str, packed: bool) -> None:
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(OTHERS[said]) if packed else OTHERS[said])
    with pytest.raises(CorruptVolumeError, match=said):
        read_header(path)


def test_other_formats_name_what_they_got_as_well(tmp_path: Path) -> None:
    for name in ("a.mha", "a.nrrd"):
        (tmp_path / name).write_bytes(b"<html></html>")
        with pytest.raises(CorruptVolumeError, match="a web page"):
            read_header(tmp_path / name)
    (tmp_path / "a.mhd").write_bytes(b"NDims = 3\n")
    with pytest.raises(CorruptVolumeError, match="pixels in another file"):
        read_header(tmp_path / "a.mhd")


@pytest.mark.parametrize("name", ["A.NII", "A.Nii.GZ", "a.NII.gz"])
def test_names_may_be_in_upper_case(tmp_path: Path, name: str) -> None:
    source = save(tmp_path / "source.nii", ARRAY)
    (tmp_path / name).write_bytes(source.read_bytes())
    assert np.array_equal(read_label_volume(tmp_path / name).array, ARRAY)


# Streams of many parts, and in pieces


@settings(max_examples=60)
@given(
    parts=st.lists(st.binary(max_size=3000), max_size=40),
    most=st.integers(1, 5000),
    tail=st.sampled_from([b"", b"\0" * 100, b"garbage"]),
)
def test_concatenated_parts_are_one_stream(parts: list[bytes], most: int, tail: bytes) -> None:
    stream = GzipParts(io.BytesIO(b"".join(map(gzip.compress, parts)) + tail * bool(parts)))
    found = b"".join(iter(lambda: stream.read(most), b""))
    assert found == b"".join(parts)
    assert stream.ended == bool(parts)


def test_each_part_costs_what_it_holds_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    offered = []
    made = zlib.decompressobj

    class Watched:
        def __init__(self, wbits: int) -> None:
            self.inflater = made(wbits=wbits)

        def decompress(self, packed: bytes, most: int) -> bytes:
            offered.append(len(packed))
            return self.inflater.decompress(packed, most)

        def __getattr__(self, name: str) -> object:
            return getattr(self.inflater, name)

    monkeypatch.setattr("evaluator.inflate.zlib.decompressobj", Watched)
    for count in (1000, 4000):
        offered.clear()
        stream = GzipParts(io.BytesIO(gzip.compress(b"") * count + gzip.compress(b"end")))
        assert stream.read(10) == b"end"
        assert sum(offered) <= 600 * (count + 1)


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "f4", ">f8", "i8"])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_pieces_give_the_same_labels_as_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str, name: str
) -> None:
    import nibabel

    array = blobs((61, 47, 33), seed=3)
    image = nibabel.Nifti1Image(array.astype(dtype), np.eye(4), dtype=dtype)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 5000))
    nibabel.save(image, tmp_path / name)
    monkeypatch.setattr("evaluator.volume.LARGEST_WHOLE_BYTES", 0)
    for piece_bytes in (1 << 20, 1000, 13):
        for module in ("volume", "inflate"):
            monkeypatch.setattr(f"evaluator.{module}.PIECE_BYTES", piece_bytes)
        assert np.array_equal(read_label_volume(tmp_path / name).array, array)
    cut = (tmp_path / name).read_bytes()[:-50]
    (tmp_path / name).write_bytes(cut)
    with pytest.raises(EvaluatorError, match="ends before"):
        read_label_volume(tmp_path / name)


@pytest.mark.parametrize("axes", list(itertools.permutations(("9", "7", "5"))))
def test_the_order_of_sizes_is_that_of_the_file(tmp_path: Path, axes: tuple[str, ...]) -> None:
    path = metaimage(tmp_path / "a.mha", "BinaryData = True", sizes=" ".join(axes))
    assert read_header(path).shape == tuple(map(int, axes))
