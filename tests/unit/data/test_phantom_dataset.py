"""A phantom data set is written whole, taken up where it stopped, and never mixed with anything else."""

import json

import nibabel as nib
import numpy as np
import pytest

from harness.data.check import check_dataset
from harness.data.dataset import open_dataset
from harness.data.phantom import make_case, write_dataset
from harness.errors import ConfigurationError

SHAPE = (24, 22, 20)


def files(folder):
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}


def contents(folder):
    return {name: path.read_bytes() for name, path in files(folder).items()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Three cases, written by one process."""
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    write_dataset(folder, cases=3, seed=5, shape=SHAPE)
    return folder


@pytest.fixture
def one_case(tmp_path):
    folder = tmp_path / "set"
    write_dataset(folder, cases=1, seed=5, shape=SHAPE)
    return folder


def test_the_layout_is_that_of_flare(finished):
    names = [
        f"{kind}Val/phantom_000{i}{end}"
        for kind, end in (("images", "_0000.nii.gz"), ("labels", ".nii.gz"))
        for i in (1, 2, 3)
    ]
    assert sorted(files(finished)) == sorted([*names, "dataset.json"])
    dataset = open_dataset(finished)
    assert [case.id for case in dataset.cases] == ["phantom_0001", "phantom_0002", "phantom_0003"]
    check_dataset(dataset)


def test_what_is_read_back_is_what_was_made(finished):
    case = make_case(seed=5, index=2, shape=SHAPE)
    for folder, end, array in (
        ("imagesVal", "_0000.nii.gz", case.image_hu),
        ("labelsVal", ".nii.gz", case.label),
    ):
        stored = nib.load(finished / folder / f"phantom_0002{end}")
        assert nib.aff2axcodes(stored.affine) == ("R", "A", "S")
        assert stored.get_data_dtype() == array.dtype
        assert np.array_equal(np.asanyarray(stored.dataobj), array)
        assert np.allclose(stored.affine, case.affine, atol=1e-3)
        assert np.allclose(stored.header.get_zooms(), case.spacing_mm)


def test_dataset_json_tells_how_to_make_it_again(finished):
    description = json.loads((finished / "dataset.json").read_text())
    assert description["generator_version"] == 3
    assert description["labels"]["liver"] == 1
    assert description["labels"]["tumour"] == 14
    assert description["licence"]
    assert description["splits"] == {
        "Val": {"recipe": {"seed": 5, "shape": list(SHAPE), "view": "abdomen"}, "cases": 3}
    }


def test_two_processes_write_the_same_bytes_as_one(finished, tmp_path):
    write_dataset(tmp_path / "set", cases=3, seed=5, shape=SHAPE, workers=2)
    assert contents(tmp_path / "set") == contents(finished)


def test_progress_is_told_up_to_the_last_case(tmp_path):
    told = []
    write_dataset(
        tmp_path, cases=2, seed=5, shape=SHAPE, progress=lambda done, total: told.append((done, total))
    )
    assert told == [(0, 2), (1, 2), (2, 2)]


def test_an_interrupted_call_is_taken_up_and_keeps_what_is_whole(finished, tmp_path):
    folder = tmp_path / "set"

    def stop_after_one(done, total):
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(folder, cases=3, seed=5, shape=SHAPE, progress=stop_after_one)
    assert not list(folder.rglob(".part-*"))
    kept = {name: path.stat().st_mtime_ns for name, path in files(folder).items() if name != "dataset.json"}
    assert kept
    (folder / "labelsVal" / "phantom_0001.nii.gz").unlink()
    write_dataset(folder, cases=3, seed=5, shape=SHAPE)
    assert contents(folder) == contents(finished)
    untouched = [name for name in kept if "phantom_0001" not in name]
    assert all(files(folder)[name].stat().st_mtime_ns == kept[name] for name in untouched)


def test_a_set_can_grow_and_a_smaller_call_removes_nothing(finished, one_case):
    write_dataset(one_case, cases=3, seed=5, shape=SHAPE)
    write_dataset(one_case, cases=2, seed=5, shape=SHAPE)
    assert contents(one_case) == contents(finished)


def test_training_and_validation_share_a_folder_but_no_patient(one_case):
    write_dataset(one_case, cases=1, seed=5, split="Tr", shape=SHAPE)
    description = json.loads((one_case / "dataset.json").read_text())
    assert set(description["splits"]) == {"Val", "Tr"}
    assert description["numTraining"] == 1
    label = [nib.load(one_case / f"labels{split}" / "phantom_0001.nii.gz") for split in ("Val", "Tr")]
    assert not np.array_equal(np.asanyarray(label[0].dataobj), np.asanyarray(label[1].dataobj))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"seed": 6}, "another recipe"),
        ({"shape": (24, 24, 24)}, "another recipe"),
        ({"shape": None}, "another recipe"),
        ({"split": "Test"}, "is no split"),
        ({"shape": (24, 8, 24)}, "too small"),
    ],
)
def test_another_recipe_is_refused_and_nothing_is_changed(one_case, changed, words):
    before = contents(one_case)
    with pytest.raises(ConfigurationError, match=words) as refused:
        write_dataset(one_case, **{"cases": 1, "seed": 5, "shape": SHAPE, **changed})
    assert refused.value.mend
    assert contents(one_case) == before


def test_a_folder_that_holds_other_data_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigurationError, match="something else"):
        write_dataset(tmp_path, cases=1, seed=5, shape=SHAPE)
    assert contents(tmp_path) == {"notes.txt": b"mine"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "set").write_text("mine")
    with pytest.raises(ConfigurationError, match="is a file"):
        write_dataset(tmp_path / "set", cases=1, seed=5, shape=SHAPE)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "cannot be read"),
        ('{"name": "another"}', "another data set"),
        ('{"generator_version": 0, "splits": {}}', "another generator version"),
    ],
)
def test_a_dataset_json_of_another_kind_is_refused(tmp_path, text, words):
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(ConfigurationError, match=words):
        write_dataset(tmp_path, cases=1, seed=5, shape=SHAPE)
    assert contents(tmp_path) == {"dataset.json": text.encode()}
