"""A partially annotated phantom set says what each case annotates, and keeps the complete labels apart."""

import json

import nibabel as nib
import numpy as np
import pytest

from harness.data.dataset import open_dataset
from harness.data.phantom import write_dataset
from harness.data.phantom.partial import GROUPS, annotation, show_only
from harness.data.phantom.patient import ORGANS, TUMOUR
from harness.errors import ConfigurationError

SHAPE = (24, 22, 20)
EVERYTHING = (*sorted(ORGANS.values()), TUMOUR)


def voxels(path):
    return np.asanyarray(nib.load(path).dataobj)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Eight cases: two of each group."""
    folder = tmp_path_factory.mktemp("partial") / "set"
    write_dataset(folder, cases=8, seed=5, split="Tr", shape=SHAPE, partial=True)
    return folder


@pytest.fixture(scope="module")
def annotated(finished):
    return json.loads((finished / "dataset.json").read_text())["annotated"]


def test_each_four_patients_in_a_row_hold_one_of_each_group():
    for first in (1, 5, 9):
        groups = [annotation(seed=5, index=first + i, split="Tr")[0] for i in range(4)]
        assert sorted(groups) == sorted(GROUPS)


def test_the_order_of_groups_differs_between_seeds_and_splits():
    def order(seed, split):
        return tuple(annotation(seed=seed, index=i, split=split)[0] for i in range(1, 41))

    assert len({order(1, "Tr"), order(2, "Tr"), order(1, "Val")}) == 3


def test_a_group_annotates_what_its_name_says():
    for index in range(1, 41):
        group, values = annotation(seed=3, index=index, split="Tr")
        if group == "some organs":
            assert 3 <= len(values) <= 8
            assert set(values) < set(ORGANS.values())
        else:
            assert values == {"everything": EVERYTHING, "tumour": (TUMOUR,), "nothing": ()}[group]


def test_showing_some_labels_makes_the_others_background():
    label = np.array([[[0, 1, 2, 13, 14]]], np.uint8)
    assert show_only(label, (1, 14)).tolist() == [[[0, 1, 0, 0, 14]]]
    assert show_only(label, ()).tolist() == [[[0, 0, 0, 0, 0]]]


def test_dataset_json_tells_what_each_case_annotates(finished, annotated):
    assert list(annotated) == [f"phantom_{i:04d}" for i in range(1, 9)]
    for i, values in enumerate(annotated.values(), start=1):
        assert tuple(values) == annotation(seed=5, index=i, split="Tr")[1]
    splits = json.loads((finished / "dataset.json").read_text())["splits"]
    assert splits == {
        "Tr": {"recipe": {"seed": 5, "shape": list(SHAPE), "view": "abdomen", "partial": True}, "cases": 8}
    }


def test_labels_show_what_is_annotated_and_nothing_else(finished, annotated):
    for case, values in annotated.items():
        path = finished / "labelsTr" / f"{case}.nii.gz"
        assert path.is_file() == bool(values), case
        if values:
            full = voxels(finished / "labelsFullTr" / f"{case}.nii.gz")
            assert np.array_equal(voxels(path), np.where(np.isin(full, values), full, 0))


def test_the_complete_labels_and_images_are_those_of_a_complete_set(finished, tmp_path):
    write_dataset(tmp_path / "set", cases=3, seed=5, split="Tr", shape=SHAPE)
    whole = contents(tmp_path / "set")
    part = contents(finished)
    for i in (1, 2, 3):
        assert part[f"imagesTr/phantom_000{i}_0000.nii.gz"] == whole[f"imagesTr/phantom_000{i}_0000.nii.gz"]
        assert part[f"labelsFullTr/phantom_000{i}.nii.gz"] == whole[f"labelsTr/phantom_000{i}.nii.gz"]


def test_the_data_set_reader_knows_what_is_annotated(finished, annotated):
    cases = open_dataset(finished, split="Tr", need_labels=False).cases
    assert {case.id: list(case.annotated) for case in cases} == annotated
    assert [case.id for case in cases if case.label is None] == [c for c, v in annotated.items() if not v]


def test_a_partial_set_is_taken_up_and_can_grow_to_the_same_bytes(finished, tmp_path):
    folder = tmp_path / "set"
    write_dataset(folder, cases=3, seed=5, split="Tr", shape=SHAPE, partial=True)
    next((folder / "labelsTr").iterdir()).unlink()
    write_dataset(folder, cases=8, seed=5, split="Tr", shape=SHAPE, partial=True, workers=2)
    assert contents(folder) == contents(finished)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"partial": False}, "another recipe"),
        ({"seed": 6}, "another recipe"),
        ({"split": "Val"}, "no other split"),
        ({"split": "Val", "partial": False}, "no other split"),
    ],
)
def test_a_partial_set_is_not_mixed_with_another(tmp_path, changed, words):
    folder = tmp_path / "set"
    arguments = {"cases": 1, "seed": 5, "split": "Tr", "shape": SHAPE, "partial": True}
    write_dataset(folder, **arguments)
    before = contents(folder)
    with pytest.raises(ConfigurationError, match=words) as refused:
        write_dataset(folder, **{**arguments, **changed})
    assert refused.value.mend
    assert contents(folder) == before


def test_a_complete_set_does_not_become_partial_in_its_folder(tmp_path):
    write_dataset(tmp_path / "set", cases=1, seed=5, split="Val", shape=SHAPE)
    with pytest.raises(ConfigurationError, match="no other split"):
        write_dataset(tmp_path / "set", cases=1, seed=5, split="Tr", shape=SHAPE, partial=True)
