"""train.py of the distilled student: from four tiny, partially annotated cases to weights, step by step."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

import SimpleITK as sitk
from segkit.model import load_model

from .partial_cases import make_patients, write_patient

ANNOTATED = {
    "everything": list(range(1, 15)),
    "nothing": [],
    "some_organs": [1, 2, 5],
    "tumour_only": [14],
}


@pytest.fixture
def data(tmp_path):
    """Four cases with a block for each organ and a tumour in the liver; labels show what is annotated."""
    return make_patients(tmp_path / "data", ANNOTATED)


@pytest.fixture
def recipes(tmp_path, submissions):
    """The short recipes, made tiny: two epochs of two steps."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    plans = submissions / "distilled_student/plans"
    (folder / "architecture.student.json").write_text((plans / "architecture.student.json").read_text())
    for name, patch in (("teacher", [64, 64]), ("organs", [16, 32, 32]), ("student", [16, 32, 32])):
        recipe = json.loads((plans / f"{name}.short.json").read_text())
        recipe["patch_size"] = patch
        recipe["batch_size"] = 1
        recipe["schedule"] |= {"epochs": 2, "iterations_per_epoch": 2, "validation_iterations_per_epoch": 1}
        (folder / f"{name}.short.json").write_text(json.dumps(recipe))
    return folder


def command(submissions, data, recipes, tmp_path, *options):
    return [
        *(sys.executable, submissions / "distilled_student/train.py", data, "--schedule", "short"),
        *("--recipes", recipes, "--work", tmp_path / "work", "--out", tmp_path / "weights"),
        *("--device", "cpu", "--threads", "2", *options),
    ]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False)


def cases_in(folder):
    return {path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz")}


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_steps_make_a_student_and_a_second_run_keeps_everything(submissions, data, recipes, tmp_path):
    inputs = digests(data)
    done = run(submissions, data, recipes, tmp_path)
    assert done.returncode == 0, done.stderr
    assert digests(data) == inputs
    work = tmp_path / "work"
    assert cases_in(work / "tumour_labels") == {"nothing", "some_organs"}
    assert cases_in(work / "organ_labels") == {"nothing", "some_organs", "tumour_only"}
    assert cases_in(work / "fused") == set(ANNOTATED)

    for case, annotated in ANNOTATED.items():
        if not annotated:
            continue
        reference = sitk.GetArrayFromImage(sitk.ReadImage(str(data / f"labelsTr/{case}.nii.gz")))
        fused = sitk.ReadImage(str(work / f"fused/{case}.nii.gz"))
        assert fused.GetOrigin() == (-40.0, -50.0, 700.0)
        array = sitk.GetArrayFromImage(fused)
        if 14 in annotated:
            assert ((array == 14) == (reference == 14)).all()
        for value in set(annotated) - {14}:
            # A tumour that the teacher saw may lie in an annotated organ; nothing else may change it.
            assert not ((reference == value) & ~np.isin(array, [value, 14])).any()
            assert not ((array == value) & (reference != value)).any()
        assert (work / f"fused/{case}.json").is_file()

    plan, network = load_model(tmp_path / "weights")
    assert plan.labels[14] == "tumour"
    assert sum(weight.numel() for weight in network.parameters()) == 5_630_732

    made = digests(work)
    again = run(submissions, data, recipes, tmp_path)
    assert again.returncode == 0, again.stderr
    labels = {path for path in made if path.name.endswith(".nii.gz")}
    assert {path: digest for path, digest in digests(work).items() if path in labels} == {
        path: made[path] for path in labels
    }

    partial = run(submissions, data, recipes, tmp_path, "--student-labels", "annotated", "--only", "fusion")
    assert partial.returncode == 0, partial.stderr
    alone = sitk.GetArrayFromImage(sitk.ReadImage(str(work / "fused_annotated/some_organs.nii.gz")))
    assert set(np.unique(alone)) == {0, 1, 2, 5}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_interrupted_teacher_goes_on_from_its_checkpoint(submissions, data, recipes, tmp_path):
    recipe = json.loads((recipes / "teacher.short.json").read_text())
    recipe["schedule"]["epochs"] = 400
    (recipes / "teacher.short.json").write_text(json.dumps(recipe))
    arguments = command(submissions, data, recipes, tmp_path, "--until", "teacher")
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        for line in process.stderr:
            if "epoch 2:" in line:
                break
        os.kill(process.pid, signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == 130, rest
    assert "the same command goes on" in rest

    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        seen = []
        for line in process.stderr:
            seen.append(line)
            if "epoch " in line and "loss" in line:
                break
        os.kill(process.pid, signal.SIGTERM)
        process.stderr.read()
    assert any("going on from epoch" in line for line in seen), seen
    assert not any("epoch 1:" in line for line in seen)


def test_a_work_folder_of_other_annotations_is_refused(submissions, data, recipes, tmp_path):
    assert run(submissions, data, recipes, tmp_path, "--until", "survey").returncode == 0
    (data / "dataset.json").write_text(json.dumps({"annotated": {**ANNOTATED, "some_organs": [1, 2, 5, 6]}}))
    done = run(submissions, data, recipes, tmp_path, "--until", "survey")
    assert done.returncode == 2
    assert "was made from other annotated_sha256" in done.stderr


def test_steps_out_of_order_name_the_step_that_is_missing(submissions, data, recipes, tmp_path):
    done = run(submissions, data, recipes, tmp_path, "--only", "tumour-labels")
    assert done.returncode == 2
    assert "run the step teacher first" in done.stderr
    done = run(submissions, data, recipes, tmp_path, "--only", "student", "--student-labels", "annotated")
    assert done.returncode == 2
    assert "run the step organs first" in done.stderr


def test_without_a_case_of_all_organs_other_organ_labels_are_asked_for(submissions, data, recipes, tmp_path):
    (data / "dataset.json").write_text(json.dumps({"annotated": {**ANNOTATED, "everything": [14]}}))
    label = data / "labelsTr/everything.nii.gz"
    array = sitk.GetArrayFromImage(sitk.ReadImage(str(label)))
    write_patient(np.where(array == 14, 14, 0).astype(np.uint8), label)
    done = run(submissions, data, recipes, tmp_path, "--only", "organs")
    assert done.returncode == 2
    assert "--organ-labels DIR" in done.stderr


def test_a_folder_without_images_says_what_it_should_hold(submissions, recipes, tmp_path):
    done = run(submissions, tmp_path, recipes, tmp_path)
    assert done.returncode == 2
    assert "imagesTr" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("gpu", "engine"), [(True, "TorchEngine"), (False, "OpenVINOEngine")])
def test_organ_pseudo_labels_are_made_on_the_gpu_where_there_is_one(
    tmp_path, monkeypatch, tiny_model, gpu, engine
):
    from segkit.model import save_model
    from segkit.partial import unet_labeller as unet_model

    if not gpu:
        pytest.importorskip("openvino")
    plan, network = tiny_model
    save_model(tmp_path, plan, network.state_dict())
    made = []

    class TorchEngine:
        def __init__(self, network, device):
            made.append(device)

    monkeypatch.setattr(unet_model, "TorchEngine", TorchEngine)
    monkeypatch.setattr(unet_model, "best_device", lambda: "cuda" if gpu else "cpu")
    segment = unet_model.load_unet(tmp_path)
    assert type(segment.__self__.engine).__name__ == engine
    assert made == (["cuda"] if gpu else [])
