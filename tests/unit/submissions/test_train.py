"""train.py from a FLARE-layout folder to weights, on three tiny cases."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import csv
import json
import subprocess
import sys
from unittest.mock import MagicMock

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

import SimpleITK as sitk
from segkit.model import load_model

from .conftest import make_body_hu, write_flipped


@pytest.fixture
def data(tmp_path):
    """Three cases with one bright block each, stored flipped."""
    folder = tmp_path / "data"
    for number in range(3):
        array = make_body_hu((20, 32, 32), seed=number)
        labels = np.zeros(array.shape, dtype=np.uint8)
        labels[6:14, 10:20, 10 + number : 20 + number] = 1
        array[labels == 1] += 300
        write_flipped(folder / f"imagesTr/case{number}_0000.nii.gz", array, (2.0, 2.0, 3.0))
        write_flipped(folder / f"labelsTr/case{number}.nii.gz", labels, (2.0, 2.0, 3.0))
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


def small_unet_train(submissions, monkeypatch, *arguments):
    """The options of train.py, imported as a module."""
    import importlib.util

    spec = importlib.util.spec_from_file_location("small_unet_train", submissions / "small_unet/train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    return module.parse_options()


@pytest.mark.parametrize(("largest", "task"), [(1, "tumour"), (14, "organs_tumour")])
def test_the_task_of_a_folder_without_dataset_json_is_seen_in_its_labels(
    submissions, data, monkeypatch, caplog, largest, task
):
    caplog.set_level("INFO", logger="segkit")
    (data / "dataset.json").unlink()
    path = data / "labelsTr/case2.nii.gz"
    sitk.WriteImage(sitk.ReadImage(str(path)) * largest, str(path))
    assert small_unet_train(submissions, monkeypatch, data).task == task
    assert f"mean --task {task}" in caplog.text


def test_nothing_goes_into_the_project_s_folder_by_default(submissions, data, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    options = small_unet_train(submissions, monkeypatch, data)
    assert options.work == tmp_path / "cache/flareharness/training/small_unet/tumour-full"
    assert options.out == options.work / "model"
    text = (submissions / "cascade" / "train.py").read_text()
    assert "with_places(options, HERE.name" in text
    for method in ("distilled_student", "coarse_to_fine"):  # by way of segkit.partial
        text = (submissions / method / "train.py").read_text()
        assert "HERE.name" in text and "segkit.partial" in text


# nnU-Net's own commands.

TRAINER = "nnUNetTrainer_Epoch2000_Lr1e3"
CONFIGURATION = "3d_fullres_S4D2W32"


def nnunet_plans(submissions, tmp_path):
    """Plans as nnU-Net's planner writes them, with the published configuration added."""
    from .nnunet_files import LINEAR, plain_unet

    resampling = {}
    for what in ("data", "seg", "probabilities"):
        resampling[f"resampling_fn_{what}"] = "resample_data_or_seg_to_shape"
        resampling[f"resampling_fn_{what}_kwargs"] = {**LINEAR, "is_seg": what == "seg"}
    plans = {
        "dataset_name": "Dataset001_x",
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "experiment_planner_used": "ExperimentPlanner",
        "original_median_spacing_after_transp": [1.0, 1.0, 1.0],
        "original_median_shape_after_transp": [100, 100, 100],
        "foreground_intensity_properties_per_channel": {
            "0": {
                "mean": 0.0,
                "std": 1.0,
                "percentile_00_5": -1.0,
                "percentile_99_5": 1.0,
                "median": 0.0,
                "min": -1.0,
                "max": 1.0,
            }
        },
        "configurations": {
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 7,
                "patch_size": [16, 16, 16],
                "spacing": [1.0, 1.0, 1.0],
                "median_image_size_in_voxels": [100, 100, 100],
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "batch_dice": True,
                "architecture": plain_unet([4, 8, 8], convs=[1, 1, 1], convs_decoder=[1, 1]),
                **resampling,
            }
        },
    }
    path = tmp_path / "nnUNetPlans.json"
    path.write_text(json.dumps(plans))
    command = [sys.executable, submissions / "small_unet/nnunet/add_configuration.py", path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(path.read_text())


def test_the_published_configuration_and_trainer_are_found_by_nnunet_itself(
    submissions, tmp_path, monkeypatch
):
    try:
        import torchvision  # noqa: F401
    except (ImportError, RuntimeError):
        # A build that does not fit torch. nnU-Net's search imports every trainer it has, and one kind of them
        # needs it.
        monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures.primus", MagicMock())
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    monkeypatch.setenv("nnUNet_extTrainer", str(submissions / "small_unet/nnunet"))
    plans = nnunet_plans(submissions, tmp_path)
    dataset = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "tumor": 1},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    kind = recursive_find_trainer_class_by_name(TRAINER)
    trainer = kind({**plans, "continue_training": False}, CONFIGURATION, "all", dataset, torch.device("cpu"))
    assert (trainer.num_epochs, trainer.initial_lr) == (2000, 1e-3)
    assert list(trainer.configuration_manager.patch_size) == [96, 128, 128]
    assert list(trainer.configuration_manager.spacing) == [3.0, 2.0, 2.0]
    assert trainer.configuration_manager.data_identifier == "nnUNetPlans_3d_fullres"
    cases = tmp_path / "preprocessed/Dataset001_x/nnUNetPlans_3d_fullres"
    cases.mkdir(parents=True)
    (cases / "case.b2nd").touch()
    trainer.initialize()
    assert sum(weight.numel() for weight in trainer.network.parameters()) == 5_602_950
    trainer.logger.log("train_losses", 0.0, 0)
    fold = tmp_path / f"results/Dataset001_x/{TRAINER}__nnUNetPlans__{CONFIGURATION}/fold_all"
    assert fold == type(fold)(trainer.output_folder)
    fold.mkdir(parents=True, exist_ok=True)
    trainer.save_checkpoint(str(fold / "checkpoint_final.pth"))
    for name, content in (("plans.json", plans), ("dataset.json", dataset)):
        (fold.parent / name).write_text(json.dumps(content))
    # What nnUNetv2_predict does with a result folder before it looks at an image.
    predictor = nnUNetPredictor(device=torch.device("cpu"), perform_everything_on_device=False)
    predictor.initialize_from_trained_model_folder(str(fold.parent), ("all",), "checkpoint_final.pth")
    assert predictor.trainer_name == TRAINER
    assert predictor.network is not None


def test_what_is_no_plans_file_is_refused_in_a_line(submissions, tmp_path):
    (tmp_path / "plans.json").write_text("{}")
    command = [
        sys.executable,
        submissions / "small_unet/nnunet/add_configuration.py",
        tmp_path / "plans.json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no plans file of nnU-Net v2" in done.stderr and "Traceback" not in done.stderr
