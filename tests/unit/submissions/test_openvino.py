# ruff: noqa: E402 - torch and OpenVINO are looked for before what needs them
from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("openvino")

import SimpleITK as sitk
from segkit import PlanError, Segmenter, TorchEngine, load_engine, load_model, save_model
from segkit.export import export
from segkit.image import from_image
from segkit.quantise import REPORT, dice_per_label, quantise

from .conftest import SUBMISSIONS, make_body_hu


@pytest.fixture
def model_folder(tmp_path, tiny_model):
    plan, network = tiny_model
    save_model(tmp_path / "model", plan, network.state_dict())
    export(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.parametrize("shape", [(16, 16, 16), (32, 16, 24), (8, 8, 8)])
def test_the_exported_network_says_what_torch_says_at_any_size(model_folder, shape):
    _, network = load_model(model_folder)
    tile = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = TorchEngine(network, threads=1).logits(tile)
    assert load_engine(model_folder, "f32", threads=1).logits(tile) == pytest.approx(expected, abs=1e-4)


def test_labels_are_those_of_torch(model_folder):
    plan, network = load_model(model_folder)
    image = sitk.GetImageFromArray(make_body_hu((20, 40, 40)))
    image.SetSpacing((1.5, 1.5, 2.0))
    ct = from_image(image)
    by_torch = Segmenter(plan, TorchEngine(network, threads=1)).segment(ct)
    by_openvino = Segmenter(plan, load_engine(model_folder, "f32", threads=1)).segment(ct)
    assert (by_torch == by_openvino).mean() > 0.9999


def test_new_weights_leave_no_network_of_the_old_ones(model_folder):
    plan, network = load_model(model_folder)
    for name in ("int8.xml", "int8.bin", "int8.json"):
        (model_folder / name).write_text("of the old weights")
    save_model(model_folder, plan, network.state_dict())
    assert sorted(path.name for path in model_folder.iterdir()) == ["model.safetensors", "plans.json"]


def test_a_missing_network_is_said_with_the_mend(tmp_path):
    with pytest.raises(PlanError, match=r"segkit\.export"):
        load_engine(tmp_path, "f32")


def test_a_damaged_network_is_said_in_one_line(model_folder):
    (model_folder / "network.xml").write_text("<net")
    with pytest.raises(PlanError, match="no OpenVINO network") as caught:
        load_engine(model_folder, "f32")
    assert "\n" not in str(caught.value)


def test_running_a_model_imports_no_torch(model_folder, tmp_path):
    program = (
        "import sys; from pathlib import Path; import numpy as np\n"
        "from segkit import Segmenter, load_engine, load_plan, read_ct, write_labels\n"
        f"load_engine(Path({str(model_folder)!r}), 'f32').logits(np.zeros((16, 16, 16), np.float32))\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(SUBMISSIONS / "segkit")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def training_cases(tmp_path, tiny_model):
    """Six cases whose labels are what the tiny network says."""
    plan, network = tiny_model
    segmenter = Segmenter(plan, TorchEngine(network, threads=1))
    for number in range(6):
        image = sitk.GetImageFromArray(make_body_hu((16, 30, 30), seed=number))
        image.SetSpacing((2.0, 2.0, 3.0))
        labels = sitk.GetImageFromArray(segmenter.segment(from_image(image)))
        labels.CopyInformation(image)
        for folder, content, name in (
            ("imagesTr", image, f"c{number}_0000"),
            ("labelsTr", labels, f"c{number}"),
        ):
            (tmp_path / "data" / folder).mkdir(parents=True, exist_ok=True)
            sitk.WriteImage(content, str(tmp_path / "data" / folder / f"{name}.nii.gz"))
    return tmp_path / "data"


def test_a_quantised_network_is_kept_only_if_its_dice_holds(model_folder, training_cases):
    pytest.importorskip("nncf")
    result = quantise(model_folder, training_cases, calibrate=3, compare=2)
    report = json.loads((model_folder / REPORT).read_text())
    assert report["calibrated_on"] == ["c0", "c1", "c2"]
    assert report["compared_on"] == ["c4", "c5"]
    assert report["dice_f32"] == pytest.approx(result.dice_f32)
    assert result.dice_f32 > 0.99
    assert 0.5 < result.dice_between <= 1
    assert (model_folder / "int8.xml").exists() == result.holds
    assert (model_folder / "int8.bin").exists() == result.holds
    assert not list(model_folder.glob("candidate*"))
    if result.holds:
        tile = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
        assert load_engine(model_folder, "int8").logits(tile).shape == (3, 16, 16, 16)


def test_dice_counts_the_labels_of_the_reference():
    reference = np.array([0, 1, 1, 2, 2, 2])
    labels = np.array([0, 1, 0, 2, 2, 3])
    assert dice_per_label(labels, reference) == pytest.approx([2 / 3, 0.8])
