"""A MONAI bundle becomes a submission that predicts what its configuration says, or is refused by name."""

import json
import os
import subprocess

import nibabel as nib
import numpy as np
import pytest

from harness.challenge import load_challenge
from harness.errors import SubmissionError
from harness.submission.find import find
from harness.submission.monai import from_monai
from harness.submission.recipes import checkout

TORCH = checkout() / ".venv-train" / "bin" / "python"
needs_torch = pytest.mark.skipif(
    not TORCH.is_file(), reason=f"TORCH MISSING: no {TORCH}; run `make env-train` to run this test"
)

# Class 1 wins where the scaled intensity is above a half, class 2 where it is above nine tenths.
NETWORK = """
import sys, torch
class Threshold(torch.nn.Module):
    def forward(self, image):
        zero = torch.zeros_like(image)
        return torch.cat([zero, (image - 0.5) * 40, (image - 0.9) * 400], dim=1)
torch.jit.script(Threshold()).save(sys.argv[1])
"""


def metadata():
    shape = {"type": "image", "spatial_shape": [16, 16, 16]}
    image = {**shape, "num_channels": 1, "channel_def": {"0": "CT"}}
    classes = {"0": "background", "1": "liver", "2": 'a "bright" one'}
    pred = {**shape, "format": "segmentation", "num_channels": 3, "channel_def": classes}
    return {
        "name": "Threshold",
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": pred}},
    }


def inference():
    key = {"keys": "@key"}
    return {
        "key": "image",
        "spacing": [2.0, 2.0, 2.0],
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **key},
                {"_target_": "EnsureChannelFirstd", **key},
                {"_target_": "Orientationd", **key, "axcodes": "RAS"},
                {"_target_": "Spacingd", **key, "pixdim": "@spacing", "mode": "bilinear"},
                {"_target_": "ScaleIntensityRanged", **key}
                | {"a_min": 0, "a_max": 100, "b_min": 0.0, "b_max": 1.0, "clip": True},
                {"_target_": "EnsureTyped", **key},
            ],
        },
        "inferer": {
            "_target_": "SlidingWindowInferer",
            "roi_size": [16, 16, 16],
            "sw_batch_size": 4,
            "overlap": 0.5,
            "device": "$torch.device('cpu')",
        },
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "@key"}
                | {"nearest_interp": False},
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
                {"_target_": "SaveImaged", "keys": "pred", "output_dir": "$@somewhere + '/eval'"},
            ],
        },
    }


@pytest.fixture
def bundle(tmp_path):
    folder = tmp_path / "bundle"
    for name in ("configs", "models"):
        (folder / name).mkdir(parents=True)
    (folder / "models" / "model.ts").write_bytes(b"PK of a network")
    write(folder, metadata(), inference())
    return folder


def write(folder, about, config):
    (folder / "configs" / "metadata.json").write_text(json.dumps(about))
    (folder / "configs" / "inference.json").write_text(json.dumps(config))


def test_a_bundle_becomes_a_submission_with_a_challenge_of_its_labels(bundle, tmp_path):
    folder = from_monai("mine", bundle, tmp_path / "s")
    assert find("mine", tmp_path / "s").manifest.title == "MONAI bundle: Threshold"
    rules = load_challenge(str(folder / "challenge.toml"))
    assert [(label.value, label.name) for label in rules.labels] == [(1, "liver"), (2, 'a "bright" one')]
    settings = json.loads((folder / "settings.json").read_text())
    assert [step["step"] for step in settings["steps"]] == [
        "Orientationd",
        "Spacingd",
        "ScaleIntensityRanged",
    ]
    assert settings["steps"][1]["pixdim"] == [2.0, 2.0, 2.0]
    assert settings["window"] == {"roi": [16, 16, 16], "overlap": 0.5, "mode": "constant"}
    assert (settings["softmax"], settings["labels_first"]) == (True, False)
    recipe = (folder / "Dockerfile").read_text()
    assert all(name in recipe for name in ("predict.py", "settings.json", "model.ts"))
    assert (folder / "model.ts").read_bytes() == b"PK of a network"


def at(config, *keys):
    for key in keys:
        config = config[key]
    return config


def crop(about, config):
    at(config, "preprocessing", "transforms").append({"_target_": "CropForegroundd", "keys": "image"})


def largest(about, config):
    at(config, "postprocessing", "transforms").append({"_target_": "KeepLargestConnectedComponentd"})


def expression(about, config):
    config["spacing"] = "$[1.5] * 3"


def nowhere(about, config):
    at(config, "preprocessing", "transforms")[3]["pixdim"] = "@pixdim"


def simple(about, config):
    config["inferer"] = {"_target_": "SimpleInferer"}


def regions(about, config):
    at(config, "postprocessing", "transforms")[0] = {"_target_": "Activationsd", "sigmoid": True}


def no_argmax(about, config):
    del at(config, "postprocessing", "transforms")[2]


def flat(about, config):
    at(about, "network_data_format", "inputs", "image")["spatial_shape"] = [16, 16]


def two_images(about, config):
    at(about, "network_data_format", "inputs")["points"] = {}


def binary(about, config):
    at(about, "network_data_format", "outputs", "pred")["num_channels"] = 1


def twins(about, config):
    at(about, "network_data_format", "outputs", "pred", "channel_def")["2"] = "liver"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (crop, "CropForegroundd"),
        (largest, "KeepLargestConnectedComponentd"),
        (expression, r"\$\[1.5\] \* 3"),
        (nowhere, "@pixdim"),
        (simple, "SimpleInferer"),
        (regions, "sigmoid"),
        (no_argmax, "argmax"),
        (flat, "three dimensions"),
        (two_images, "image, points"),
        (binary, r"1 output channel\(s\)"),
        (twins, "one name"),
    ],
)
def test_what_is_not_supported_is_named_with_what_would_work(bundle, tmp_path, change, named):
    about, config = metadata(), inference()
    change(about, config)
    write(bundle, about, config)
    with pytest.raises(SubmissionError, match=named) as refusal:
        from_monai("mine", bundle, tmp_path / "s")
    assert refusal.value.mend
    assert not (tmp_path / "s").exists()


def test_weights_that_only_python_code_can_use_are_refused_with_the_command_that_exports_them(
    bundle, tmp_path
):
    (bundle / "models" / "model.ts").rename(bundle / "models" / "model.pt")
    with pytest.raises(SubmissionError, match=r"only models/model\.pt") as refusal:
        from_monai("mine", bundle, tmp_path / "s")
    assert "monai.bundle ckpt_export" in refusal.value.mend


def test_a_pointer_instead_of_the_network_and_yaml_are_refused(bundle, tmp_path):
    (bundle / "configs" / "inference.json").rename(bundle / "configs" / "inference.yaml")
    with pytest.raises(SubmissionError, match=r"inference\.yaml"):
        from_monai("mine", bundle, tmp_path / "s")
    (bundle / "models" / "model.ts").write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(SubmissionError, match="not TorchScript"):
        from_monai("mine", bundle, tmp_path / "s")


@needs_torch
@pytest.mark.parametrize(("labels_first", "mode"), [(False, "constant"), (True, "gaussian")])
def test_the_network_is_run_in_windows_on_the_bundles_grid_and_labels_lie_on_the_image(
    bundle, tmp_path, labels_first, mode
):
    program = tmp_path / "network.py"  # TorchScript is compiled from a file
    program.write_text(NETWORK)
    subprocess.run([TORCH, program, bundle / "models" / "model.ts"], check=True)
    config = inference()
    config["inferer"]["mode"] = mode
    if labels_first:
        after = config["postprocessing"]["transforms"]
        after[1], after[2] = after[2], after[1]
    write(bundle, metadata(), config)
    folder = from_monai("mine", bundle, tmp_path / "s")
    inputs, outputs = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    outputs.mkdir()
    # Two mirrored axes; 40 voxels of x are 20 of the network's, more than a window, and 12 of z are fewer.
    affine = np.diag([-1.0, -1.0, 2.0, 1.0])
    hu = np.zeros((40, 32, 12), np.int16)
    hu[4:16, 6:20, 2:8] = 80
    hu[24:36, 6:20, 2:8] = 100
    nib.save(nib.Nifti1Image(hu, affine), inputs / "c_0000.nii.gz")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "python3").write_text(f'#!/bin/sh\nexec "{TORCH}" "$@"\n')
    (programs / "python3").chmod(0o755)
    environment = os.environ | {"FLARE_INPUTS": str(inputs), "FLARE_OUTPUTS": str(outputs)}
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    subprocess.run(["sh", folder / "predict.sh"], check=True, env=environment)
    written = nib.load(outputs / "c.nii.gz")
    assert np.allclose(written.affine, affine)
    labels = np.asarray(written.dataobj)
    inner = np.zeros(hu.shape, bool)
    for start in (4, 24):
        inner[start + 2 : start + 10, 8:18, 3:7] = True
    wanted = (hu >= 80).astype(int) + (hu == 100)
    assert np.array_equal(labels[inner], wanted[inner])
    outside = np.ones(hu.shape, bool)
    for start in (4, 24):
        outside[start - 2 : start + 14, 4:22, 1:9] = False
    assert not labels[outside].any()
