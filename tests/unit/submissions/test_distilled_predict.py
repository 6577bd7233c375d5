"""The distilled student's image, run as its container runs it but with tiny random weights."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("openvino")

import SimpleITK as sitk
from segkit import Settings
from segkit.export import export
from segkit.method import read_settings, settings_of
from segkit.model import save_model
from segkit.network import PlainConvUNet
from segkit.plan import NetworkPlan

from .conftest import make_body_hu, make_tiny_plan

SUBMISSION = Path(__file__).resolve().parents[3] / "submissions" / "distilled_student"
MODES = ("fast", "exact")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """What the image holds in /workspace, with a tiny model and some inputs."""
    folder = tmp_path_factory.mktemp("workspace")
    for name in ("predict.sh", "predict.py", "settings.json"):
        shutil.copy(SUBMISSION / name, folder)
    torch.manual_seed(2)
    plan = make_tiny_plan(labels=("background", "liver", "tumour"))
    save_model(folder / "weights", plan, PlainConvUNet(plan.network).state_dict())
    export(folder / "weights")
    (folder / "inputs").mkdir()
    write(folder / "inputs/block_0000.nii.gz", block())
    write(folder / "inputs/slice_0000.nii.gz", make_body_hu((1, 20, 20)))
    write(folder / "inputs/tiny_0000.nii.gz", np.full((2, 1, 3), 40, dtype=np.int16))
    write(folder / "inputs/air_0000.nii.gz", np.full((5, 6, 7), -1024, dtype=np.int16))
    write(folder / "inputs/tissue_0000.nii.gz", make_body_hu((20, 40, 36)))
    return folder


def block():
    """A bright block in soft tissue in air."""
    array = np.full((24, 60, 60), -1000, dtype=np.int16)
    array[:, 8:52, 8:52] = -100
    array[6:18, 20:40, 20:44] = 300
    return array


def write(path, array, spacing=(1.5, 1.0, 2.5), direction=(-1, 0, 0, 0, 0, 1, 0, 1, 0)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((10, -20, 30))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))


def run(workspace, outputs, **environment):
    return subprocess.run(
        ["sh", "predict.sh", "--inputs", "inputs", "--outputs", str(outputs)],
        cwd=workspace,
        env={
            **os.environ,
            "PYTHONPATH": str(SUBMISSION.parent / "segkit"),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def predicted(workspace):
    """Label images by mode and case."""
    images = {}
    for mode in MODES:
        done = run(workspace, workspace / mode, MODE=mode)
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
        images[mode] = {
            path.name.removesuffix(".nii.gz"): sitk.ReadImage(str(path))
            for path in (workspace / mode).iterdir()
        }
    return images


@pytest.mark.parametrize("mode", MODES)
def test_every_case_gets_its_label_map_on_its_own_grid(workspace, predicted, mode):
    assert sorted(predicted[mode]) == ["air", "block", "slice", "tiny", "tissue"]
    for case, labels in predicted[mode].items():
        image = sitk.ReadImage(str(workspace / f"inputs/{case}_0000.nii.gz"))
        assert labels.GetPixelID() == sitk.sitkUInt8
        for geometry in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(labels, geometry)() == getattr(image, geometry)()


@pytest.mark.parametrize("mode", MODES)
def test_air_gives_an_empty_map_and_tissue_does_not(predicted, mode):
    assert not sitk.GetArrayFromImage(predicted[mode]["air"]).any()
    assert sitk.GetArrayFromImage(predicted[mode]["tissue"]).any()


def test_both_modes_agree_where_the_image_is_simple(predicted):
    fast, exact = (sitk.GetArrayFromImage(predicted[mode]["block"]) for mode in MODES)
    assert np.unique(exact).size > 1
    assert (fast == exact).mean() > 0.9


@pytest.mark.parametrize("mode", MODES)
def test_the_organ_task_never_says_tumour(workspace, predicted, mode, tmp_path):
    assert run(workspace, tmp_path, MODE=mode, TASK="organs").returncode == 0
    free = sitk.GetArrayFromImage(predicted[mode]["tissue"])
    without = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "tissue.nii.gz")))
    assert (free == 2).any()
    assert not (without == 2).any()


@pytest.mark.parametrize(
    ("variable", "message"),
    [("TASK", "TASK is 'x'; it must be one of organs, organs_tumour"), ("MODE", "one of exact, fast")],
)
def test_a_wrong_variable_is_said_in_one_line(workspace, tmp_path, variable, message):
    done = run(workspace, tmp_path, **{variable: "x"})
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_weights_are_said_in_one_line(workspace, tmp_path):
    for name in ("predict.sh", "predict.py", "settings.json"):
        shutil.copy(SUBMISSION / name, tmp_path)
    shutil.copytree(workspace / "inputs", tmp_path / "inputs")
    done = run(tmp_path, tmp_path / "outputs")
    assert done.returncode == 2
    assert "plans.json is missing" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_two_named_settings_are_settings_and_differ_as_they_say():
    tasks, modes = read_settings(SUBMISSION)
    assert tuple(modes) == MODES
    chosen = {mode: settings_of(tasks["organs"], told, Settings, {}) for mode, told in modes.items()}
    assert chosen["exact"] == ("f32", Settings())
    assert chosen["fast"] == ("fastest", Settings(windows="centre_first", labels_at="network"))


def test_every_build_argument_is_known(workspace):
    submission = tomllib.loads((SUBMISSION / "submission.toml").read_text())
    dockerfile = (SUBMISSION / "Dockerfile").read_text()
    arguments = [submission["build_args"], *(each["build_args"] for each in submission["challenge"].values())]
    for name, value in (pair for each in arguments for pair in each.items()):
        assert f"ARG {name}=" in dockerfile
        assert value in {"TASK": ("organs_tumour", "organs"), "MODE": MODES}[name]


def test_the_students_network_has_the_published_number_of_parameters():
    architecture = json.loads((SUBMISSION / "plans/architecture.student.json").read_text())["arch_kwargs"]
    plan = NetworkPlan(
        channels_in=1,
        channels_out=15,
        features=architecture["features_per_stage"],
        kernels=architecture["kernel_sizes"],
        strides=architecture["strides"],
        convs_encoder=architecture["n_conv_per_stage"],
        convs_decoder=architecture["n_conv_per_stage_decoder"],
        conv_bias=architecture["conv_bias"],
    )
    assert sum(weight.numel() for weight in PlainConvUNet(plan).parameters()) == 5_630_732


@pytest.mark.parametrize("schedule", ["full", "short"])
def test_a_patch_can_be_halved_as_often_as_the_network_does(schedule):
    recipe = json.loads((SUBMISSION / f"plans/student.{schedule}.json").read_text())
    architecture = json.loads((SUBMISSION / "plans/architecture.student.json").read_text())
    divisor = np.prod(architecture["arch_kwargs"]["strides"], axis=0)
    assert not (np.array(recipe["patch_size"]) % divisor).any()
