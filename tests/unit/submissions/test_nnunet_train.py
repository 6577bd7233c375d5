"""The whole way of submissions/nnunet_ensemble on a tiny data set: plan, train, choose, bundle, segment."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

from segkit.cases import read_channels
from segkit.nnunet.predict import Ensemble

from .conftest import make_body_hu, write_flipped

RECIPE = {
    "gpu_memory_gb": 0.1,
    "features_divided_by": 8,
    "schedule": {
        "epochs": 1,
        "iterations_per_epoch": 2,
        "validation_iterations_per_epoch": 1,
        "learning_rate": 0.01,
        "mirror_axes": [],
    },
}


def write_data(folder, cases=5):
    """Soft tissue with a bright part, in RAS as many data sets are."""
    for number in range(cases):
        hu = make_body_hu((12, 32, 36), seed=number)
        write_flipped(folder / f"imagesTr/c{number}_0000.nii.gz", hu, (2.0, 2.0, 4.0))
        write_flipped(folder / f"labelsTr/c{number}.nii.gz", (hu > 60).astype(np.uint8), (2.0, 2.0, 4.0))
    return folder


@pytest.mark.slow
@pytest.mark.timeout(7000)
def test_one_command_leads_to_a_bundle(tmp_path, submissions):
    data, work = write_data(tmp_path / "Task003_Tiny"), tmp_path / "work"
    (tmp_path / "recipe.json").write_text(json.dumps(RECIPE))

    def train(*options):
        program = submissions / "nnunet_ensemble" / "train.py"
        command = [sys.executable, program, data, "--recipe", tmp_path / "recipe.json", "--work", work]
        command += ["--threads", "1", "--device", "cpu", "--configurations", "2d", "3d", "--folds", "0", "1"]
        return subprocess.run([*command, *options], check=False, capture_output=True, text=True, timeout=3000)

    one = train("--only", "2d:1")
    assert one.returncode == 0, one.stderr[-3000:]
    model = work / "results" / "Dataset003_Tiny" / "ShortTrainer__nnUNetPlans__2d"
    assert (model / "fold_1" / "member.json").is_file() and not (model / "fold_0").exists()

    rest = train()
    assert rest.returncode == 0, rest.stderr[-3000:]
    assert "== 2d, fold 0" in rest.stderr and "== 2d, fold 1" not in rest.stderr
    assert not list((work / "locks").iterdir())
    choice = json.loads((work / "results" / "Dataset003_Tiny" / "choice.json").read_text())
    assert set(choice["compared"]) == {"2d", "3d_fullres", "2d + 3d_fullres"}
    assert choice["dice"] == max(choice["compared"].values())

    ensemble = Ensemble(work / "model", engine="torch")
    assert ensemble.bundle.ensemble == tuple(choice["configurations"])
    assert all(each.folds == ("0", "1") for each in ensemble.bundle.configurations.values())
    ct = read_channels(data / "imagesTr" / "c0_0000.nii.gz")
    assert ensemble.segment(ct).shape == ct.array.shape
