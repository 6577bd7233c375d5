"""Pseudo-label optimisation on label maps with made discontinuities, and its rounds on tiny cases."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import SimpleITK as sitk
from cascade.model import build_network, save_network, save_plan
from cascade.plan import CascadePlan, LocationPlan, OrgansPlan
from cascade.train.cases import TrainingDataError
from cascade.train.pseudo import merge_folders, merged
from scipy import ndimage

from .conftest import SUBMISSIONS, make_body_hu

AORTA, ESOPHAGUS, GALLBLADDER, LEFT_ADRENAL, STOMACH = 5, 10, 9, 8, 11


def parts(labels, value):
    return ndimage.label(labels == value, np.ones((3, 3, 3)))[1]


def test_a_broken_organ_becomes_whole_where_the_prediction_bridges_its_gaps():
    whole = np.zeros((30, 12, 12), dtype=np.uint8)
    whole[:, 4:7, 4:7] = AORTA
    broken = whole.copy()
    broken[8:10] = broken[20:23] = 0
    predicted = whole.copy()
    predicted[:7] = 0  # the prediction has gaps of its own elsewhere
    assert parts(broken, AORTA) == 3
    result = merged(broken, predicted)
    assert parts(result, AORTA) == 1
    assert np.array_equal(result, whole)


def test_nothing_that_was_labelled_is_lost():
    random = np.random.default_rng(0)
    labels, predicted = random.integers(0, 14, (2, 8, 9, 10))
    result = merged(labels, predicted)
    assert ((result > 0) == ((labels > 0) | (predicted > 0))).all()
    assert ((result == labels) | (result == predicted)).all()
    agree = labels == predicted
    assert np.array_equal(result[agree], labels[agree])


@pytest.mark.parametrize(
    ("one", "other", "winner"),
    [
        (1, 2, 2),
        (STOMACH, 12, 12),
        (ESOPHAGUS, STOMACH, ESOPHAGUS),
        (ESOPHAGUS, GALLBLADDER, GALLBLADDER),
        (LEFT_ADRENAL, 13, LEFT_ADRENAL),
        (LEFT_ADRENAL, GALLBLADDER, LEFT_ADRENAL),
        (7, 3, 7),
        (0, 4, 4),
    ],
)
def test_where_organs_meet_the_higher_wins_and_small_organs_win_over_all(one, other, winner):
    first, second = np.array([one, other]), np.array([other, one])
    assert merged(first, second).tolist() == [winner, winner]


def test_the_small_organ_of_the_labels_is_not_swallowed_by_a_large_prediction():
    labels = np.zeros((10, 10, 10), dtype=np.uint8)
    labels[4:6, 4:6, 4:6] = GALLBLADDER
    predicted = np.full((10, 10, 10), 12, dtype=np.uint8)
    result = merged(labels, predicted)
    assert (result[4:6, 4:6, 4:6] == GALLBLADDER).all()
    assert (result == 12).sum() == 1000 - 8


def test_a_second_merge_with_the_same_prediction_changes_nothing():
    labels, predicted = np.random.default_rng(1).integers(0, 14, (2, 6, 6, 6))
    once = merged(labels, predicted)
    assert np.array_equal(merged(once, predicted), once)


def test_lesions_are_dropped_because_the_networks_know_organs_only():
    assert merged(np.array([14, 14]), np.array([0, 1])).tolist() == [0, 1]


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((4.0, 4.0, 6.0))
    image.SetOrigin((1, 2, 3))
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    sitk.WriteImage(image, str(path))


def test_folders_are_merged_file_by_file_with_the_labels_geometry(tmp_path):
    labels = np.zeros((4, 5, 6), dtype=np.uint8)
    predicted = labels.copy()
    labels[0], predicted[1] = 1, 2
    write(tmp_path / "labels/a.nii.gz", labels)
    write(tmp_path / "predicted/a.nii.gz", predicted)
    merge_folders(tmp_path / "labels", tmp_path / "predicted", tmp_path / "out")
    image = sitk.ReadImage(str(tmp_path / "out/a.nii.gz"))
    assert image.GetOrigin() == (1, 2, 3)
    assert sitk.GetArrayFromImage(image)[:, 0, 0].tolist() == [1, 2, 0, 0]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["a.nii.gz"]


def test_a_missing_prediction_and_another_size_are_named(tmp_path):
    write(tmp_path / "labels/a.nii.gz", np.zeros((4, 5, 6), dtype=np.uint8))
    with pytest.raises(TrainingDataError, match=r"a\.nii\.gz is missing"):
        merge_folders(tmp_path / "labels", tmp_path / "predicted", tmp_path / "out")
    write(tmp_path / "predicted/a.nii.gz", np.zeros((4, 5, 5), dtype=np.uint8))
    with pytest.raises(TrainingDataError, match="belong to one CT"):
        merge_folders(tmp_path / "labels", tmp_path / "predicted", tmp_path / "out")


@pytest.mark.slow
def test_rounds_predict_merge_and_train_on_and_are_not_done_twice(tmp_path):
    pytest.importorskip("openvino")
    plan = CascadePlan(
        location=LocationPlan(size=(64, 64, 64), smallest_part_ml=0.0),
        organs=OrgansPlan(spacing_mm=(8.0, 8.0, 8.0), patch=(32, 32, 32)),
    )
    torch.manual_seed(1)
    save_plan(tmp_path / "weights", plan)
    for phase in ("location", "organs"):
        save_network(tmp_path / "weights", phase, build_network(plan, phase))
    labels = np.zeros((12, 32, 32), dtype=np.uint8)
    labels[3:9, 8:20, 8:20] = 1
    write(tmp_path / "data/labelsTr/a.nii.gz", labels)
    write(tmp_path / "data/imagesTr/a_0000.nii.gz", make_body_hu(labels.shape))
    one = {"iterations": 1, "batch": 1, "learning_rate": 1e-3, "lowest_learning_rate": 1e-3}
    one = {**one, "weight_decay": 0.0, "validate_every": 1, "validation_patches": 1}
    recipe = {**json.loads(plan.to_json()), "training": {"location": one, "organs": one}}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))

    command = [sys.executable, SUBMISSIONS / "cascade/optimise_labels.py", tmp_path / "data"]
    command += ["--weights", tmp_path / "weights", "--work", tmp_path / "work"]
    command += ["--rounds", "1", "--recipe", tmp_path / "recipe.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "work/round1"
    result = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels/a.nii.gz")))
    predicted = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "predicted/a.nii.gz")))
    assert np.array_equal(result, merged(labels, predicted))
    before = (tmp_path / "weights/organs.safetensors").read_bytes()
    assert (folder / "weights/organs.safetensors").read_bytes() != before

    shutil.rmtree(tmp_path / "data/imagesTr")  # so that doing anything again would fail
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
