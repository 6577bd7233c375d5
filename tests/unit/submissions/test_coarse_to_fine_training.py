"""train.py of coarse_to_fine: from four tiny, partially annotated cases to four models, step by step."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

import SimpleITK as sitk
from coarse_to_fine.pipeline import CoarseToFine
from coarse_to_fine.plan import load_plan
from segkit.model import load_model

from .partial_cases import make_patients

ANNOTATED = {
    "everything": list(range(1, 15)),
    "nothing": [],
    "organs_only": list(range(1, 14)),
    "tumour_only": [14],
}


@pytest.fixture
def data(tmp_path):
    """Four cases; labels show what is annotated."""
    return make_patients(tmp_path / "data", ANNOTATED)


@pytest.fixture
def recipes(tmp_path, submissions):
    """The short recipes, made tiny: one epoch of two steps of a narrow network."""
    folder = tmp_path / "recipes"
    folder.mkdir()
    plans = submissions / "coarse_to_fine/plans"
    architecture = json.loads((plans / "architecture.short.json").read_text())
    architecture["arch_kwargs"]["features_per_stage"] = [4, 8, 8, 8]
    (folder / "architecture.short.json").write_text(json.dumps(architecture))
    for name in ("coarse", "tumour1", "tumour2", "organs"):
        recipe = json.loads((plans / f"{name}.short.json").read_text())
        recipe["patch_size"] = [16, 32, 32] if name != "tumour2" else [16, 16, 32]
        recipe["schedule"] |= {"epochs": 1, "iterations_per_epoch": 2, "validation_iterations_per_epoch": 1}
        (folder / f"{name}.short.json").write_text(json.dumps(recipe))
    return folder


def run(submissions, data, recipes, tmp_path, *options):
    command = [
        *(sys.executable, submissions / "coarse_to_fine/train.py", data, "--schedule", "short"),
        *("--recipes", recipes, "--work", tmp_path / "work", "--out", tmp_path / "weights"),
        *("--device", "cpu", "--threads", "2", *options),
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def cases_in(folder):
    return {path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz")}


def array_of(path):
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_steps_make_four_models_and_rules(submissions, data, recipes, tmp_path):
    done = run(submissions, data, recipes, tmp_path)
    assert done.returncode == 0, done.stderr
    work, weights = tmp_path / "work", tmp_path / "weights"
    assert cases_in(work / "coarse_labels") == {"nothing", "tumour_only"}
    assert cases_in(work / "completed") == {"everything", "tumour_only"}
    assert cases_in(work / "fused") == set(ANNOTATED)

    reference = array_of(data / "labelsTr/tumour_only.nii.gz")
    completed = array_of(work / "completed/tumour_only.nii.gz")
    assert np.array_equal(completed == 14, reference == 14)
    coarse = array_of(work / "coarse_labels/tumour_only.nii.gz")
    assert np.array_equal(np.where(reference == 14, 14, coarse), completed)

    rules = load_plan(weights)
    # 170/3 voxels of 2.301 mm, in slices of 4 mm.
    assert rules.coarse.reach_voxels == pytest.approx(170 / 3 * 2.301 / 4, abs=0.01)
    plans = {name: load_model(weights / name)[0] for name in rules.models}
    assert [len(plan.labels) for plan in plans.values()] == [14, 15, 15, 14]
    assert plans["tumour1"].patch != plans["tumour2"].patch
    for plan in plans.values():
        assert plan.image_resampling.order == 3
        assert plan.intensity.clip_high_hu <= 325
    assert isinstance(CoarseToFine(rules, {}), CoarseToFine)


def test_steps_out_of_order_name_the_step_that_is_missing(submissions, data, recipes, tmp_path):
    done = run(submissions, data, recipes, tmp_path, "--only", "coarse-labels")
    assert done.returncode == 2
    assert "run the step coarse first" in done.stderr
    done = run(submissions, data, recipes, tmp_path, "--only", "completion")
    assert done.returncode == 2
    assert "predict these cases first" in done.stderr


def test_without_a_case_of_all_organs_or_of_a_tumour_it_is_said(submissions, recipes, tmp_path):
    data = make_patients(tmp_path / "some", {"some": [1, 2]})
    for step, said in (("coarse", "annotates all organs"), ("tumour1", "annotates the tumour (14)")):
        done = run(submissions, data, recipes, tmp_path, "--only", step)
        assert done.returncode == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
