"""The small U-Net's folder, run as its container runs it but with tiny random weights."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import SimpleITK as sitk
from segkit.method import read_settings
from segkit.model import load_model, save_model
from segkit.network import PlainConvUNet

from .conftest import make_body_hu, make_tiny_plan

INPUT_ENDING = "_0000.nii.gz"


@pytest.fixture
def workspace(tmp_path, submissions):
    """What the image holds in /workspace, with a tiny model for both sets of weights."""
    for name in ("predict.sh", "predict.py", "settings.json"):
        shutil.copy(submissions / "small_unet" / name, tmp_path)
    for name in ("tumour", "organs_tumour"):
        torch.manual_seed(2)
        plan = make_tiny_plan(labels=("background", "liver", "tumour"))
        save_model(tmp_path / "weights" / name, plan, PlainConvUNet(plan.network).state_dict())
    (tmp_path / "inputs").mkdir()
    return tmp_path


def run(workspace, submissions, **environment):
    return subprocess.run(
        ["sh", "predict.sh", "--inputs", "inputs", "--outputs", "outputs"],
        cwd=workspace,
        env={**os.environ, "PYTHONPATH": str(submissions / "segkit"), "PATH": python_first(), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def python_first() -> str:
    """A PATH on which python3 is the one that runs the tests."""
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"


def write(path, array, spacing=(1.5, 1.0, 2.5), direction=(-1, 0, 0, 0, 0, 1, 0, 1, 0)):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetOrigin((10, -20, 30))
    image.SetDirection(direction)
    sitk.WriteImage(image, str(path))


def test_every_case_gets_its_label_map_on_its_own_grid(workspace, submissions):
    write(workspace / "inputs/a_0000.nii.gz", make_body_hu((14, 30, 26)))
    write(workspace / "inputs/b.x_0000.nii.gz", make_body_hu((1, 20, 20)))
    write(workspace / "inputs/air_0000.nii.gz", np.full((5, 6, 7), -1024, dtype=np.int16))

    done = run(workspace, submissions, TASK="organs_tumour")

    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    written = sorted(path.name for path in (workspace / "outputs").iterdir())
    assert written == ["a.nii.gz", "air.nii.gz", "b.x.nii.gz"]
    for name in written:
        case = name.removesuffix(".nii.gz")
        image = sitk.ReadImage(str(workspace / f"inputs/{case}{INPUT_ENDING}"))
        labels = sitk.ReadImage(str(workspace / f"outputs/{name}"))
        assert labels.GetPixelID() == sitk.sitkUInt8
        for geometry in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
            assert getattr(labels, geometry)() == getattr(image, geometry)()
    assert sitk.GetArrayFromImage(sitk.ReadImage(str(workspace / "outputs/a.nii.gz"))).any()
    assert not sitk.GetArrayFromImage(sitk.ReadImage(str(workspace / "outputs/air.nii.gz"))).any()


def test_the_organ_task_never_says_tumour(workspace, submissions):
    write(workspace / "inputs/a_0000.nii.gz", make_body_hu((14, 30, 26)))
    values = {}
    for task in ("organs_tumour", "organs"):
        assert run(workspace, submissions, TASK=task).returncode == 0
        values[task] = set(
            np.unique(sitk.GetArrayFromImage(sitk.ReadImage(str(workspace / "outputs/a.nii.gz"))))
        )
    assert 2 in values["organs_tumour"]
    assert 2 not in values["organs"]


def test_a_broken_file_fails_the_run_but_not_the_other_cases(workspace, submissions):
    (workspace / "inputs/a_0000.nii.gz").write_bytes(b"broken")
    write(workspace / "inputs/b_0000.nii.gz", make_body_hu((14, 30, 26)))
    done = run(workspace, submissions)
    assert done.returncode == 1
    assert "a_0000.nii.gz: cannot be read" in done.stderr
    assert "Traceback" not in done.stderr
    assert (workspace / "outputs/b.nii.gz").exists()


@pytest.mark.parametrize(
    ("environment", "message"),
    [({"TASK": "brain"}, "TASK is 'brain'"), ({"TASK": "tumour"}, r"no <case>_0000.nii.gz in inputs")],
)
def test_a_wrong_task_and_empty_inputs_are_said_in_one_line(workspace, submissions, environment, message):
    done = run(workspace, submissions, **environment)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_weights_are_said_in_one_line(workspace, submissions):
    write(workspace / "inputs/a_0000.nii.gz", make_body_hu((14, 30, 26)))
    shutil.rmtree(workspace / "weights/tumour")
    done = run(workspace, submissions, TASK="tumour")
    assert done.returncode == 2
    assert "is missing" in done.stderr


def test_the_shipped_tasks_have_weights_with_the_labels_they_need(submissions):
    folder = submissions / "small_unet"
    outputs = {"tumour": 2, "organs_tumour": 15, "organs": 15}
    parameters = {2: 5_602_950, 15: 5_605_901}
    tasks, _ = read_settings(folder)
    assert set(tasks) == set(outputs)
    for task, choice in tasks.items():
        plan, network = load_model(folder / choice.weights)
        assert len(plan.labels) == outputs[task]
        assert plan.orientation == "canonical"
        assert set(choice.leave_out) <= set(plan.labels)
        assert sum(weight.numel() for weight in network.parameters()) == parameters[outputs[task]]
        assert (folder / choice.weights / "MODEL_CARD.md").is_file()


def test_every_build_argument_is_a_task(submissions):
    folder = submissions / "small_unet"
    submission = tomllib.loads((folder / "submission.toml").read_text())
    tasks = set(read_settings(folder)[0])
    arguments = [submission["build_args"], *(each["build_args"] for each in submission["challenge"].values())]
    assert {argument["TASK"] for argument in arguments} == tasks
