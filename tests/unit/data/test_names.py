"""What file names say is read as people write them, and what could be read in two ways is refused by name."""

import os
import unicodedata

import pytest

from harness.data.dataset import open_dataset
from harness.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path):
    """One FLARE-layout case; opening reads no pixels."""
    _write(tmp_path / "imagesVal" / "a_0000.nii.gz")
    _write(tmp_path / "labelsVal" / "a.nii.gz")
    return tmp_path


def _write(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"")


def ids(folder, **options):
    return [case.id for case in open_dataset(folder, **options).cases]


def refused(folder, match, **options):
    with pytest.raises(ConfigurationError, match=match):
        open_dataset(folder, **options)


@pytest.mark.parametrize("name", ["._a_0000.nii.gz", ".DS_Store", ".b_0000.nii.gz", "Thumbs.db", "desktop.ini"])
def test_what_an_operating_system_leaves_is_no_case_and_is_noted(folder, name):
    _write(folder / "imagesVal" / name)
    _write(folder / "labelsVal" / "._a.nii.gz")
    dataset = open_dataset(folder)
    assert [case.id for case in dataset.cases] == ["a"]
    assert any(name in note for note in dataset.notes)


@pytest.mark.parametrize("image, label", [("NFC", "NFD"), ("NFD", "NFC")])
def test_two_spellings_of_one_accent_are_one_case(tmp_path, image, label):
    _write(tmp_path / "imagesVal" / unicodedata.normalize(image, "caf\u00e9_0000.nii.gz"))
    _write(tmp_path / "labelsVal" / unicodedata.normalize(label, "caf\u00e9.nii.gz"))
    assert ids(tmp_path) == ["caf\u00e9"]


def test_a_name_that_is_not_utf8_is_refused_with_one_line(folder):
    _write(folder / "imagesVal" / os.fsdecode(b"M\xfcller_0000.nii.gz"))
    refused(folder, r"M\\udcfcller_0000\.nii\.gz is not UTF-8")


@pytest.mark.parametrize("image", ["liver_7_0000.nii", "liver_7_0000.NII.GZ", "liver_7_0000.nii.gz"])
@pytest.mark.parametrize("label", ["liver_7.nii", "liver_7.NII.gz", "liver_7.mha", "liver_7.nrrd", "liver_7.seg.nrrd"])
def test_every_ending_that_can_be_read_is_taken(tmp_path, image, label):
    _write(tmp_path / "imagesVal" / image)
    _write(tmp_path / "labelsVal" / label)
    assert ids(tmp_path) == ["liver_7"]


def test_images_named_like_their_labels_are_taken_with_a_note(tmp_path):
    for name in ("phantom_0001", "phantom_0002"):
        _write(tmp_path / "imagesVal" / f"{name}.nii.gz")
        _write(tmp_path / "labelsVal" / f"{name}.nii.gz")
    assert ids(tmp_path) == ["phantom_0001", "phantom_0002"]
    assert any("without a channel" in note for note in open_dataset(tmp_path).notes)


def test_images_with_and_without_a_channel_side_by_side_are_refused(folder):
    _write(folder / "imagesVal" / "b.nii.gz")
    refused(folder, r"b\.nii\.gz has no channel")


@pytest.mark.parametrize("name", ["b_0000.mha", "b_0000.nrrd", "b.hdr", "b_0000.nii.zst"])
def test_a_volume_that_no_submission_could_read_is_named_alone_or_beside_others(folder, tmp_path_factory, name):
    _write(folder / "imagesVal" / name)
    refused(folder, name.replace(".", r"\."))
    alone = tmp_path_factory.mktemp("alone")
    _write(alone / "imagesVal" / name)
    refused(alone, name.replace(".", r"\."))


def test_two_files_of_one_case_are_named(folder):
    _write(folder / "labelsVal" / "a.nii")
    refused(folder, r"two files are of one case: a\.nii and a\.nii\.gz")


def test_a_folder_or_a_broken_link_named_like_a_case_is_named(folder):
    (folder / "labelsVal" / "b.nii.gz").mkdir()
    refused(folder, r"b\.nii\.gz is named like a volume and is no file")
    (folder / "labelsVal" / "b.nii.gz").rmdir()
    (folder / "labelsVal" / "b.nii.gz").symlink_to("nowhere")
    refused(folder, r"b\.nii\.gz is named like a volume and is a link to nothing")


@pytest.mark.parametrize("label", ["a_seg.nii.gz", "a_0000.nii.gz", "a-label.nii.gz", "A.nii.gz"])
def test_a_label_with_nearly_its_cases_name_is_told_what_to_be_called(folder, label):
    (folder / "labelsVal" / "a.nii.gz").rename(folder / "labelsVal" / label)
    _write(folder / "imagesVal" / "b_0000.nii.gz")
    match = r"1 label\(s\) have no image" if label == "A.nii.gz" else rf"Rename {label} to a\.nii\.gz"
    refused(folder, match)


def test_channels_are_found_in_order_and_counted(folder):
    for number in (2, 1):
        _write(folder / "imagesVal" / f"a_{number:04d}.nii.gz")
    (case,) = open_dataset(folder).cases
    assert [path.name for path in case.channels] == ["a_0000.nii.gz", "a_0001.nii.gz", "a_0002.nii.gz"]


def test_a_case_that_lacks_a_channel_is_named(folder):
    for name in ("b_0000", "b_0001"):
        _write(folder / "imagesVal" / f"{name}.nii.gz")
    refused(folder, r"case a has no channel _0001", need_labels=False)


def test_channel_names_must_be_as_many_as_channels(folder):
    (folder / "dataset.json").write_text('{"channel_names": {"0": "CT", "1": "PET"}}')
    refused(folder, r"names 2 channel\(s\), and the cases have 1")
    _write(folder / "imagesVal" / "a_0001.nii.gz")
    assert open_dataset(folder).channels == ("CT", "PET")


def test_a_second_channel_changes_the_fingerprint(folder):
    before = open_dataset(folder).fingerprint()
    _write(folder / "imagesVal" / "a_0001.nii.gz")
    assert open_dataset(folder).fingerprint() != before


@pytest.mark.parametrize("annotated", ['{"A": [1]}', '{"b": [1]}', "[1]", '{"a": [true]}', '{"a": [0]}', '{"a": 1}'])
def test_an_annotation_that_would_be_ignored_is_refused(folder, annotated):
    (folder / "dataset.json").write_text(f'{{"annotated": {annotated}}}')
    refused(folder, "annotated")


def test_an_annotation_of_another_splits_case_is_no_fault(folder):
    _write(folder / "imagesTr" / "t_0000.nii.gz")
    (folder / "dataset.json").write_text('{"annotated": {"t": [1], "a": [2]}}')
    assert open_dataset(folder).cases[0].annotated == (2,)


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_dataset_json(folder):
    (folder / "dataset.json").write_bytes(b'\xef\xbb\xbf{\r\n"name": "pilot"\r\n}')
    assert open_dataset(folder).name == "pilot"


@pytest.mark.parametrize("case", ["-rf", "a\nb", "x" * 210, "a\u202eb"])
def test_an_id_that_should_name_no_folder_is_refused(tmp_path, case):
    _write(tmp_path / "imagesVal" / f"{case}_0000.nii.gz")
    refused(tmp_path, "is no case id", need_labels=False)
