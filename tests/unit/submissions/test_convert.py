# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segkit.convert import convert
from segkit.errors import PlanError
from segkit.model import load_model, save_model
from segkit.network import PlainConvUNet

from .nnunet_files import dataset_json, plans_json


@pytest.fixture
def training(tmp_path, tiny_plan):
    """A results folder as nnU-Net leaves it, with its aliases and its numpy scalars."""
    torch.manual_seed(0)
    state = PlainConvUNet(tiny_plan.network).state_dict()
    weights = dict(state)
    for name, value in state.items():
        if name.startswith("encoder."):
            weights[f"decoder.{name}"] = value
        weights[name.replace(".conv.", ".all_modules.0.")] = value
    checkpoint = {
        "network_weights": weights,
        "init_args": {"configuration": "3d_fullres", "fold": 0, "device": torch.device("cpu")},
        "trainer_name": "nnUNetTrainer",
        "current_epoch": 7,
        "_best_ema": np.float64(0.5),
        "logging": {"train_losses": [np.float32(-0.5)], "val_losses": [np.float64(-0.4)]},
    }
    torch.save(checkpoint, tmp_path / "checkpoint_final.pth")
    (tmp_path / "plans.json").write_text(json.dumps(plans_json()))
    (tmp_path / "dataset.json").write_text(json.dumps(dataset_json()))
    return tmp_path, state


def files_of(folder, **changes):
    paths = {
        "checkpoint": folder / "checkpoint_final.pth",
        "plans": folder / "plans.json",
        "dataset": folder / "dataset.json",
        "out": folder / "weights",
    }
    return {**paths, **changes}


def test_a_checkpoint_becomes_a_model_folder_of_half_the_size(training):
    folder, state = training
    convert(**files_of(folder))
    plan, network = load_model(folder / "weights")
    assert plan.labels == ("background", "one", "two")
    assert plan.source["trainer"] == "nnUNetTrainer"
    for name, value in network.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name].half().float())
    numbers = sum(value.numel() for value in state.values())
    assert (folder / "weights/model.safetensors").stat().st_size < 2 * numbers + 8000
    assert (folder / "weights/model.safetensors").stat().st_mode & 0o044 == 0o044


def test_the_command_line_does_the_same(training, submissions):
    folder, _ = training
    paths = files_of(folder)
    command = [sys.executable, "-m", "segkit.convert", paths["checkpoint"], "--orientation", "canonical"]
    for name in ("plans", "dataset", "out"):
        command += [f"--{name}", paths[name]]
    done = subprocess.run(command, cwd=submissions / "segkit", check=False)
    assert done.returncode == 0
    assert load_model(paths["out"])[0].orientation == "canonical"


class Payload:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("arbitrary code ran",))


def test_a_checkpoint_that_would_run_code_is_refused(training, capsys):
    folder, _ = training
    torch.save({"network_weights": Payload(), "init_args": {}}, folder / "checkpoint_final.pth")
    with pytest.raises(PlanError, match="opened safely"):
        convert(**files_of(folder))
    assert "arbitrary code ran" not in capsys.readouterr().out


def test_a_missing_file_is_named(training):
    folder, _ = training
    with pytest.raises(PlanError, match=r"nowhere\.json is missing"):
        convert(**files_of(folder, plans=folder / "nowhere.json"))


def test_weights_of_another_network_are_refused(training, tiny_plan):
    folder, state = training
    state.pop("decoder.seg_layers.0.bias")
    with pytest.raises(PlanError, match="do not fit"):
        save_model(folder / "weights", tiny_plan, state)


def test_a_training_that_diverged_is_not_exported(training, tiny_plan):
    folder, state = training
    state["decoder.seg_layers.0.bias"][0] = float("nan")
    with pytest.raises(PlanError, match="diverged"):
        save_model(folder / "weights", tiny_plan, state)
    assert not (folder / "weights").exists()


@pytest.mark.parametrize("missing", ["plans.json", "model.safetensors"])
def test_a_model_folder_with_a_file_missing_says_which(training, missing):
    folder, _ = training
    convert(**files_of(folder))
    (folder / "weights" / missing).unlink()
    with pytest.raises(PlanError, match=missing):
        load_model(folder / "weights")


def test_damaged_weights_are_refused(training):
    folder, _ = training
    convert(**files_of(folder))
    path = folder / "weights/model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(PlanError, match="does not hold the weights"):
        load_model(folder / "weights")
