"""train.py from a FLARE-layout folder to weights, on three tiny cases."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

import SimpleITK as sitk
from segkit.model import load_model

from .conftest import make_body_hu


@pytest.fixture
def data(tmp_path):
    """Three cases with one bright block each, stored flipped."""
    folder = tmp_path / "data"
    (folder / "imagesTr").mkdir(parents=True)
    (folder / "labelsTr").mkdir()
    for number in range(3):
        array = make_body_hu((20, 32, 32), seed=number)
        labels = np.zeros(array.shape, dtype=np.uint8)
        labels[6:14, 10:20, 10 + number : 20 + number] = 1
        array[labels == 1] += 300
        for values, path in (
            (array, folder / f"imagesTr/case{number}_0000.nii.gz"),
            (labels, folder / f"labelsTr/case{number}.nii.gz"),
        ):
            image = sitk.GetImageFromArray(values)
            image.SetSpacing((2.0, 2.0, 3.0))
            image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
            sitk.WriteImage(image, str(path))
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "lesion": 1}}))
    return folder


def recipe(path, epochs):
    schedule = {
        "hours": 1.0,
        "epochs": epochs,
        "iterations_per_epoch": 2,
        "validation_iterations_per_epoch": 1,
        "learning_rate": 0.001,
        "weight_decay": 0.01,
        "oversample_foreground": 0.5,
        "mirror_axes": [2],
        "elastic_probability": 1.0,
        "jitter": {"label_sd": 0.3, "texture_sd": 0.4},
        "seed": 3,
    }
    content = {
        "spacing": [4.0, 4.0, 4.0],
        "patch_size": [16, 16, 16],
        "batch_size": 1,
        "schedule": schedule,
    }
    path.write_text(json.dumps(content))
    return path


def train(submissions, data, tmp_path, *options):
    command = [sys.executable, submissions / "small_unet/train.py", data]
    command += ["--work", tmp_path / "work", "--out", tmp_path / "weights"]
    command += ["--schedule", "short", "--device", "cpu", "--threads", "2", *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_training_runs_goes_on_where_it_stopped_and_exports_weights(submissions, data, tmp_path):
    first = train(submissions, data, tmp_path, "--recipe", recipe(tmp_path / "one.json", epochs=2))
    assert first.returncode == 0, first.stderr
    assert "min left" in first.stderr
    plan, network = load_model(tmp_path / "weights")
    assert plan.labels == ("background", "tumour")
    assert plan.orientation == "canonical"
    assert sum(weight.numel() for weight in network.parameters()) == 5_602_950

    more = train(submissions, data, tmp_path, "--recipe", recipe(tmp_path / "two.json", epochs=3))
    assert more.returncode == 0, more.stderr
    assert "going on from epoch 2" in more.stderr
    (progress,) = (tmp_path / "work/results").rglob("progress.csv")
    with progress.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert all(np.isfinite(float(row["train_loss"])) for row in rows)
    assert {"pseudo_dice", "learning_rate", "elapsed_s"} <= set(rows[0])


def test_an_image_without_a_label_is_named(submissions, data, tmp_path):
    (data / "labelsTr/case1.nii.gz").unlink()
    done = train(submissions, data, tmp_path)
    assert done.returncode == 2
    assert "case1.nii.gz is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_label_that_the_task_does_not_know_is_named(submissions, data, tmp_path):
    path = data / "labelsTr/case2.nii.gz"
    image = sitk.ReadImage(str(path))
    sitk.WriteImage(image * 5, str(path))
    done = train(submissions, data, tmp_path)
    assert done.returncode == 2
    assert "values up to 5 for 1 labels" in done.stderr


def test_a_folder_without_images_says_what_it_should_hold(submissions, tmp_path):
    done = train(submissions, tmp_path, tmp_path, "--task", "tumour")
    assert done.returncode == 2
    assert "imagesTr" in done.stderr
