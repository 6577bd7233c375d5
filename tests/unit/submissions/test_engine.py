"""Which engine runs a network: chosen by name, and by what there is."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segkit import engine as engines
from segkit.errors import PlanError
from segkit.model import save_model
from segkit.torch_engine import TorchEngine

SUBMISSIONS = Path(__file__).resolve().parents[3] / "submissions"
WITHOUT_OPENVINO = "import sys; sys.modules['openvino'] = None; sys.argv = sys.argv[1:]; "


@pytest.fixture
def folder(tmp_path, tiny_model):
    """A model folder without any form for OpenVINO."""
    plan, network = tiny_model
    save_model(tmp_path, plan, network.state_dict())
    return tmp_path


def test_the_fastest_form_that_is_there_is_taken(folder, monkeypatch):
    monkeypatch.setattr(engines, "has_openvino", lambda: True)
    monkeypatch.setattr(engines, "gpu_given", lambda: False)
    network = engines.network_in(folder)
    assert engines.fastest(network) == "torch"
    network.float_ir.touch()
    assert engines.fastest(network) == "f32"
    network.int8_ir.touch()
    assert engines.fastest(network) == "int8"
    monkeypatch.setattr(engines, "gpu_given", lambda: True)
    assert engines.fastest(network) == "torch"


@pytest.mark.parametrize("name", ["fastest", "f32", "bf16", "torch"])
def test_torch_runs_the_network_where_there_is_no_openvino(folder, monkeypatch, name):
    monkeypatch.setattr(engines, "has_openvino", lambda: False)
    engine = engines.open_engine(folder, name)
    assert isinstance(engine, TorchEngine)
    assert engine.logits(np.zeros((16, 16, 16), np.float32)).shape == (3, 16, 16, 16)
    assert not (name == "f32" and engine.bfloat16)


def test_int8_and_unknown_names_are_refused_in_one_line(folder, monkeypatch):
    monkeypatch.setattr(engines, "has_openvino", lambda: False)
    with pytest.raises(PlanError, match="int8 needs OpenVINO, which is not installed"):
        engines.open_engine(folder, "int8")
    with pytest.raises(PlanError, match="the engine is 'gpu'; it must be one of fastest, int8"):
        engines.open_engine(folder, "gpu")


def test_what_the_system_shows_is_no_gpu_until_torch_can_use_it(monkeypatch, tmp_path):
    monkeypatch.setattr(engines, "_GPU_DEVICES", (tmp_path / "nvidiactl",))
    monkeypatch.setattr("segkit.torch_engine.best_device", lambda: "cuda")
    assert not engines.gpu_given()
    (tmp_path / "nvidiactl").touch()
    assert engines.gpu_given()
    monkeypatch.setattr("segkit.torch_engine.best_device", lambda: "cpu")
    assert not engines.gpu_given()


def run_without_openvino(statement, *arguments, cwd):
    command = [sys.executable, "-c", WITHOUT_OPENVINO + statement, *map(str, arguments)]
    environment = {"PYTHONPATH": f"{SUBMISSIONS / 'segkit'}:{SUBMISSIONS / 'cascade'}", "PATH": ""}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("module", "arguments"),
    [("segkit.export", ["--if-possible", "."]), ("cascade.export", ["--if-possible", ".", "model"])],
)
def test_an_image_without_openvino_is_built_with_the_weights_as_they_are(folder, module, arguments):
    before = sorted(path.name for path in folder.iterdir())
    statement = f"import runpy; runpy.run_module('{module}', run_name='__main__')"
    done = run_without_openvino(statement, module, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "no OpenVINO here: the networks run in torch\n"
    assert sorted(path.name for path in folder.glob("*.*")) == before
    if "model" in arguments:
        assert sorted(path.name for path in (folder / "model").iterdir()) == before
