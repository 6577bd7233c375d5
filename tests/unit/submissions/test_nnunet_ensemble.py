"""The words, the data, the locks and the plans of submissions/nnunet_ensemble."""

from __future__ import annotations

import json
import os
import socket
import time

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

import SimpleITK as sitk
from segkit.errors import TrainingDataError
from stack.lock import held, holder, waited_for
from stack.prepare import adapt
from stack.raw import cases_of, description_of, write_raw
from stack.schedule import HowToTrain, read_schedule
from stack.words import configuration_named, data_named, dataset_named, member_named
from stack.work import Work


def write_data(folder, description=None, channels=1, direction=None):
    for case in ("a", "b"):
        array = np.arange(60).reshape(3, 4, 5)
        for name in [f"imagesTr/{case}_{number:04d}" for number in range(channels)] + [f"labelsTr/{case}"]:
            path = folder / f"{name}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            image = sitk.GetImageFromArray((array if "images" in name else array % 3).astype(np.int16))
            if direction:
                image.SetDirection(direction)
            sitk.WriteImage(image, str(path))
    if description:
        (folder / "dataset.json").write_text(json.dumps(description))
    return folder


@pytest.mark.parametrize(
    ("word", "name"), [("3d", "3d_fullres"), ("2d", "2d"), ("cascade", "3d_cascade_fullres")]
)
def test_words_of_v1_are_mapped(word, name):
    assert configuration_named(word) == name


def test_a_configuration_that_nobody_has_is_refused():
    with pytest.raises(TrainingDataError, match="v1's 3d is 3d_fullres"):
        configuration_named("3d_highres")


def test_members_have_a_configuration_and_a_fold():
    assert member_named("3d:4") == ("3d_fullres", "4")
    for text in ("3d_fullres", "2d:5", ":1", "2d:x"):
        with pytest.raises(TrainingDataError, match=r"CONFIGURATION:FOLD|no configuration"):
            member_named(text)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("Task017_AbdomenCT", "Dataset017_AbdomenCT"),
        ("Dataset004_Hippocampus", "Dataset004_Hippocampus"),
        ("my data-2", "Dataset001_mydata2"),
    ],
)
def test_data_sets_are_named_as_v2_names_them(folder, name):
    assert dataset_named(folder) == name


@pytest.mark.parametrize(
    ("variable", "below"),
    [("nnUNet_raw_data_base", "nnUNet_raw_data/Task017_X"), ("nnUNet_raw", "Dataset017_X")],
)
@pytest.mark.parametrize("word", ["Task017_X", "17", "017", "Dataset017_X"])
def test_a_data_set_is_found_by_its_number_in_the_folders_of_either_version(tmp_path, variable, below, word):
    (tmp_path / below).mkdir(parents=True)
    assert data_named(word, {variable: str(tmp_path)}) == tmp_path / below
    with pytest.raises(TrainingDataError, match="no data set of number 18"):
        data_named("18", {variable: str(tmp_path)})


def test_a_description_of_v1_is_converted(tmp_path):
    told = {
        "modality": {"0": "CT", "1": "PET"},
        "labels": {"0": "background", "1": "liver", "2": "tumour"},
        "training": [{"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}],
    }
    data = write_data(tmp_path / "data", told, channels=2)
    described = description_of(data, cases_of(data))
    assert described["channel_names"] == {"0": "CT", "1": "PET"}
    assert described["labels"] == {"background": 0, "liver": 1, "tumour": 2}
    assert described["numTraining"] == 2


def test_regions_and_names_of_v2_are_kept(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2}
    told = {"channel_names": {"0": "T1"}, "labels": labels, "regions_class_order": [1, 2]}
    data = write_data(tmp_path / "data", told)
    described = description_of(data, cases_of(data))
    assert (described["labels"], described["regions_class_order"]) == (labels, [1, 2])


def test_without_a_description_flares_organs_are_named(tmp_path):
    data = write_data(tmp_path / "data")
    assert description_of(data, cases_of(data))["labels"] == {"background": 0, "liver": 1, "right_kidney": 2}


def test_images_are_turned_to_lps_and_linked_where_they_lie_so(tmp_path):
    turned = (-1.0, 0, 0, 0, -1.0, 0, 0, 0, 1.0)
    write_raw(write_data(tmp_path / "ras", direction=turned), tmp_path / "raw" / "Dataset001_ras")
    write_raw(write_data(tmp_path / "lps"), tmp_path / "raw" / "Dataset002_lps")
    image = tmp_path / "raw" / "Dataset001_ras" / "imagesTr" / "a_0000.nii.gz"
    assert not image.is_symlink()
    assert sitk.ReadImage(str(image)).GetDirection() == pytest.approx(np.eye(3).ravel())
    assert (tmp_path / "raw" / "Dataset002_lps" / "imagesTr" / "a_0000.nii.gz").is_symlink()


def test_a_work_folder_of_other_data_is_refused(tmp_path):
    write_raw(write_data(tmp_path / "one"), tmp_path / "raw")
    other = write_data(tmp_path / "two")
    (other / "labelsTr" / "b.nii.gz").write_bytes((other / "imagesTr" / "b_0000.nii.gz").read_bytes())
    with pytest.raises(TrainingDataError, match="other data"):
        write_raw(other, tmp_path / "raw")


def test_a_missing_channel_is_named(tmp_path):
    data = write_data(tmp_path / "data", channels=2)
    (data / "imagesTr" / "b_0001.nii.gz").unlink()
    with pytest.raises(TrainingDataError, match=r"case b has channels \[0\] of 2"):
        cases_of(data)


def test_images_without_channels_name_the_command_that_converts_them(tmp_path):
    data = write_data(tmp_path / "data")
    (data / "imagesTr" / "a_0000.nii.gz").rename(data / "imagesTr" / "a.nii.gz")
    with pytest.raises(TrainingDataError, match="nnUNetv2_convert_MSD_dataset"):
        cases_of(data)


def test_a_lock_is_held_by_one(tmp_path):
    lock = tmp_path / "locks" / "2d_0.lock"
    with held(lock) as mine:
        assert mine
        assert f"process {os.getpid()}" in holder(lock)
        with held(lock) as second:
            assert not second
        assert lock.exists()
    assert not lock.exists()


@pytest.mark.parametrize("left", ["gone from this machine", "stale", "torn and stale"])
def test_a_lock_that_was_left_is_taken_over(tmp_path, left):
    lock = tmp_path / "2d_0.lock"
    host = socket.gethostname() if left.startswith("gone") else "elsewhere"
    lock.write_text("" if left.startswith("torn") else json.dumps({"host": host, "process": 2**22 + 1}))
    if left.endswith("stale"):
        os.utime(lock, (time.time() - 3600,) * 2)
    with held(lock) as mine:
        assert mine


def test_a_fresh_lock_of_another_machine_is_respected(tmp_path):
    lock = tmp_path / "2d_0.lock"
    lock.write_text(json.dumps({"host": "elsewhere", "process": 1}))
    with held(lock) as mine:
        assert not mine
    assert lock.exists()


def test_waiting_for_a_lock_ends_when_it_is_free(tmp_path):
    with waited_for(tmp_path / "prepare.lock", "the data is being prepared"):
        assert (tmp_path / "prepare.lock").exists()


def test_the_schedule_goes_into_every_configuration(tmp_path):
    how = HowToTrain(
        features_divided_by=4,
        schedule={"epochs": 2, "learning_rate": 0.1},
        changes={"2d": {"epochs": 5}},
    )
    arguments = {"features_per_stage": [32, 64]}
    plans = {
        "configurations": {
            "2d": {"batch_size": 12, "architecture": {"arch_kwargs": dict(arguments)}},
            "3d_fullres": {"batch_size": 2, "architecture": {"arch_kwargs": dict(arguments)}},
            "3d_cascade_fullres": {"inherits_from": "3d_fullres"},
        }
    }
    adapt(plans, Work(tmp_path, "Dataset001_x", how, 1, 1, "cpu", mirrored=True))
    told = plans["configurations"]
    assert told["3d_fullres"]["architecture"]["arch_kwargs"]["features_per_stage"] == [8, 16]
    assert {name: each["schedule"]["epochs"] for name, each in told.items()} == {
        "2d": 5,
        "3d_fullres": 2,
        "3d_cascade_fullres": 2,
    }
    assert all(each["mirrored_at_test"] for each in told.values())


@pytest.mark.parametrize("name", ["full", "quick", "start"])
def test_shipped_schedules_are_read(submissions, name):
    how = read_schedule(submissions / "nnunet_ensemble" / "plans" / f"{name}.json")
    assert how.trainer == ("PublishedTrainer" if name == "full" else "ShortTrainer")


def test_a_schedule_with_an_unknown_entry_is_refused(tmp_path):
    (tmp_path / "mine.json").write_text('{"epoch": 3}')
    with pytest.raises(TrainingDataError, match="no entry 'epoch'"):
        read_schedule(tmp_path / "mine.json")
