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
from segkit.compact import compact_folder
from segkit.export import export
from segkit.image import from_image
from segkit.int8 import dice_per_label
from segkit.model import in_float16, load_state, network_of_ir, read_weights, write_weights
from segkit.plan import load_plan
from segkit.quantise import REPORT, quantise

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
    assert abs(result.dice_restored - result.dice_f32) < 0.05
    if result.holds:
        tile = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
        assert load_engine(model_folder, "int8").logits(tile).shape == (3, 16, 16, 16)


def shipped_models():
    return sorted(path.parent for path in SUBMISSIONS.glob("*/weights/**/int8.xml"))


@pytest.mark.parametrize("folder", shipped_models(), ids=lambda folder: str(folder.relative_to(SUBMISSIONS)))
def test_the_8_bit_form_holds_the_whole_network(folder):
    """Weights read back from the integers say what the integers say, but for the rounding of activations."""
    plan, network = network_of_shipped(folder)
    tile = np.random.default_rng(0).normal(size=plan.patch).astype(np.float32)[:16, :32, :32]
    by_torch = TorchEngine(network, threads=1).logits(tile)
    by_integers = load_engine(folder, "int8", threads=1).logits(tile)
    assert np.corrcoef(by_torch.ravel(), by_integers.ravel())[0, 1] > 0.99
    assert (by_torch.argmax(0) == by_integers.argmax(0)).mean() > 0.95


def network_of_shipped(folder):
    plan = load_plan(folder / "plans.json")
    return plan, network_of_ir(plan, folder / "int8.xml")


def test_a_model_of_the_8_bit_form_alone_loads_and_exports(model_folder, training_cases, monkeypatch):
    pytest.importorskip("nncf")
    monkeypatch.setattr("segkit.quantise.MOST_DICE_LOSS", 1.0)  # random weights lose much
    assert quantise(model_folder, training_cases, calibrate=3, compare=2).holds
    _, before = load_model(model_folder)
    tile = np.random.default_rng(0).normal(size=(16, 16, 16)).astype(np.float32)
    (model_folder / "model.safetensors").unlink()
    (model_folder / "network.xml").unlink()
    _, after = load_model(model_folder)
    assert load_state(model_folder).keys() < before.state_dict().keys()
    kernel = "encoder.stages.1.0.convs.1.conv.weight"
    largest = before.state_dict()[kernel].abs().max()
    assert (after.state_dict()[kernel] - before.state_dict()[kernel]).abs().max() < largest / 100
    export(model_folder)
    expected = TorchEngine(after, threads=1).logits(tile)
    assert load_engine(model_folder, "f32", threads=1).logits(tile) == pytest.approx(expected, abs=2e-2)


@pytest.mark.parametrize("damage", ["xml", "bin", "missing"])
def test_a_damaged_8_bit_form_is_said_in_one_line(tmp_path, damage):
    source = shipped_models()[0]
    for name in ("plans.json", "int8.xml", "int8.bin"):
        (tmp_path / name).write_bytes((source / name).read_bytes())
    if damage == "xml":
        (tmp_path / "int8.xml").write_text("<net")
    elif damage == "bin":
        (tmp_path / "int8.bin").write_bytes((source / "int8.bin").read_bytes()[:1000])
    else:
        (tmp_path / "int8.bin").unlink()
    with pytest.raises(PlanError, match="no network in 8-bit integers"):
        load_model(tmp_path)


def test_compact_weights_are_half_as_large_and_nearly_the_same(tmp_path):
    torch.manual_seed(0)
    state = {
        "conv.weight": torch.randn(16, 8, 3, 3, 3),
        "conv.bias": torch.randn(16),
        "steps": torch.tensor(7),
        "small.weight": torch.randn(2, 3),
    }
    write_weights(tmp_path / "halves.safetensors", in_float16(state))
    write_weights(tmp_path / "model.safetensors", in_float16(state))
    compact_folder(tmp_path)
    sizes = [(tmp_path / name).stat().st_size for name in ("model.safetensors", "halves.safetensors")]
    assert sizes[0] == sizes[1] < 0.7 * 2 * sum(value.numel() for value in state.values())
    read = read_weights(tmp_path / "model.safetensors")
    assert read.keys() == state.keys()
    assert read["steps"] == 7
    assert read["steps"].dtype == torch.int64
    scale = state["conv.weight"].abs().amax(dim=(1, 2, 3, 4), keepdim=True) / 127
    assert ((read["conv.weight"] - state["conv.weight"]).abs() <= 0.52 * scale + 1e-3).all()
    for name in ("conv.bias", "small.weight"):
        assert torch.equal(read[name], state[name].half().float())
    content = (tmp_path / "model.safetensors").read_bytes()
    compact_folder(tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == content


def test_dice_counts_the_labels_of_the_reference():
    reference = np.array([0, 1, 1, 2, 2, 2])
    labels = np.array([0, 1, 0, 2, 2, 3])
    assert dice_per_label(labels, reference) == pytest.approx([2 / 3, 0.8])
