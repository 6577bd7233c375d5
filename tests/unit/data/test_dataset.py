"""A data folder is opened by its layout, and whatever is missing is named."""

import json

import pytest

from harness.data.dataset import open_dataset
from harness.errors import ConfigurationError


@pytest.fixture
def folder(tmp_path):
    """Two FLARE-layout cases, their contents any bytes: opening reads no pixels."""
    for name in ("b", "a"):
        _write(tmp_path / "imagesVal" / f"{name}_0000.nii.gz", f"image {name}")
        _write(tmp_path / "labelsVal" / f"{name}.nii.gz", f"label {name}")
    return tmp_path


def _write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_cases_come_sorted_with_image_and_label(folder):
    cases = open_dataset(folder).cases
    assert [case.id for case in cases] == ["a", "b"]
    assert cases[0].image == folder / "imagesVal" / "a_0000.nii.gz"
    assert cases[0].label == folder / "labelsVal" / "a.nii.gz"
    assert cases[0].annotated is None


@pytest.mark.parametrize("split", ["Val", "Ts", "Tr", ""])
def test_flare_and_nnunet_folder_names_are_found(tmp_path, split):
    _write(tmp_path / f"images{split}" / "a_0000.nii.gz", "i")
    _write(tmp_path / f"labels{split}" / "a.nii.gz", "l")
    assert [case.id for case in open_dataset(tmp_path).cases] == ["a"]


def test_the_validation_split_is_preferred_and_another_can_be_named(folder):
    _write(folder / "imagesTr" / "t_0000.nii.gz", "i")
    _write(folder / "labelsTr" / "t.nii.gz", "l")
    assert [case.id for case in open_dataset(folder).cases] == ["a", "b"]
    assert [case.id for case in open_dataset(folder, split="Tr").cases] == ["t"]


def test_dataset_json_names_the_set_and_its_annotated_labels(folder):
    (folder / "dataset.json").write_text(json.dumps({"name": "pilot", "annotated": {"b": [13, 1]}}))
    dataset = open_dataset(folder)
    assert dataset.name == "pilot"
    assert [case.annotated for case in dataset.cases] == [None, (1, 13)]


def test_the_fingerprint_follows_every_byte_and_nothing_else(folder):
    before = open_dataset(folder).fingerprint()
    assert open_dataset(folder).fingerprint() == before
    (folder / "labelsVal" / "a.nii.gz").write_text("label A")
    assert open_dataset(folder).fingerprint() != before


def test_the_fingerprint_follows_the_annotation(folder):
    before = open_dataset(folder).fingerprint()
    (folder / "dataset.json").write_text(json.dumps({"annotated": {"a": [1]}}))
    assert open_dataset(folder).fingerprint() != before


def test_a_selection_keeps_only_the_named_cases(folder):
    assert [case.id for case in open_dataset(folder).select(["b"]).cases] == ["b"]
    with pytest.raises(ConfigurationError, match=r"no case named z.*Cases: a, b"):
        open_dataset(folder).select(["z"])


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"does not exist.*nowhere"):
        open_dataset(tmp_path / "nowhere")


def test_a_folder_without_images_says_what_it_must_hold(tmp_path):
    with pytest.raises(ConfigurationError, match=r"no images.*imagesVal"):
        open_dataset(tmp_path)


def test_an_empty_images_folder_says_how_files_are_named(tmp_path):
    (tmp_path / "imagesVal").mkdir()
    with pytest.raises(ConfigurationError, match=r"no images.*_0000\.nii\.gz"):
        open_dataset(tmp_path)


def test_labels_without_images_are_said(tmp_path):
    _write(tmp_path / "labelsVal" / "a.nii.gz", "l")
    with pytest.raises(ConfigurationError, match="labels but no images"):
        open_dataset(tmp_path)


def test_a_label_without_its_image_is_named(folder):
    (folder / "imagesVal" / "a_0000.nii.gz").unlink()
    with pytest.raises(ConfigurationError, match=r"1 label\(s\) have no image: a"):
        open_dataset(folder)


def test_an_image_without_its_label_is_named_unless_labels_are_not_needed(folder):
    (folder / "labelsVal" / "b.nii.gz").unlink()
    with pytest.raises(ConfigurationError, match=r"1 image\(s\) have no label: b"):
        open_dataset(folder)
    assert open_dataset(folder, need_labels=False).cases[1].label is None


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_broken_dataset_json_is_explained(folder, content):
    (folder / "dataset.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"dataset\.json"):
        open_dataset(folder)


def test_a_broken_annotation_names_its_case(folder):
    (folder / "dataset.json").write_text(json.dumps({"annotated": {"a": "liver"}}))
    with pytest.raises(ConfigurationError, match="of case a"):
        open_dataset(folder)
