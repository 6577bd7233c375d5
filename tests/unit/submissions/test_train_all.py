"""All trainings after one another, rehearsed on a CPU, and weights cut into parts and made whole."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from safetensors.torch import load_file, save_file
from segkit.errors import SegkitError
from segkit.training.phantoms.shards import join, split

MODELS = {
    "cascade_location",
    "cascade_organs",
    "coarse",
    "fine_organs",
    "fine_tumour1",
    "fine_tumour2",
    "organs",
    "small_unet_organs_tumour",
    "small_unet_tumour",
    "student",
    "teacher",
}


@pytest.mark.slow
def test_every_model_takes_three_steps_and_is_written_in_small_files(submissions, tmp_path):
    command = [
        sys.executable,
        submissions / "train_all.py",
        "--work",
        tmp_path,
        "--rehearse",
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "PYTHONPATH": str(submissions.parent)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    rows = json.loads((tmp_path / "train_all.json").read_text())
    assert {row["model"] for row in rows} == MODELS
    assert all(row["steps"] == 3 for row in rows)
    files = list((tmp_path / "models").rglob("*.safetensors"))
    assert {path.parent.name for path in files} == MODELS
    assert all(path.stat().st_size <= 15 * 2**20 for path in files)


def test_weights_in_parts_become_whole_again(tmp_path):
    state = {f"layer{number}": torch.randn(100, 10) for number in range(5)}
    save_file(state, tmp_path / "model.safetensors")
    parts = split(tmp_path / "model.safetensors", limit_bytes=10_000)
    assert len(parts) == 3
    assert not (tmp_path / "model.safetensors").exists()
    assert join(tmp_path) == [tmp_path / "model.safetensors"]
    whole = load_file(tmp_path / "model.safetensors")
    assert all(torch.equal(whole[name], state[name]) for name in state)
    assert [path.name for path in tmp_path.iterdir()] == ["model.safetensors"]
    assert split(tmp_path / "model.safetensors") == [tmp_path / "model.safetensors"]


def test_a_missing_part_is_named(tmp_path):
    save_file({f"layer{number}": torch.randn(100, 10) for number in range(5)}, tmp_path / "model.safetensors")
    split(tmp_path / "model.safetensors", limit_bytes=10_000)[1].unlink()
    with pytest.raises(SegkitError, match=r"model-00002-of-00003\.safetensors is missing"):
        join(tmp_path)
