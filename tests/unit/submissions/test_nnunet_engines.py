"""A bundle in OpenVINO and in 8-bit integers, and the settings that nnU-Net has no command for."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")
pytest.importorskip("openvino")

import SimpleITK as sitk
from segkit.cases import read_channels
from segkit.errors import SegkitError
from segkit.nnunet.convert import Options, convert
from segkit.nnunet.predict import Ensemble, EnsembleSettings

from .nnunet_results import Training, write_case, write_results

COMMON = ((14, 40, 36), (2.0, 2.0, 3.0))
CASCADE = ("2d", "3d_lowres", "3d_cascade_fullres")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Slices and a cascade of two channels and two folds."""
    place = tmp_path_factory.mktemp("bundle")
    schemes = ("CTNormalization", "ZScoreNormalization")
    results = write_results(place / "results", Training(CASCADE, schemes=schemes, folds=("0", "1")))
    convert(results, place / "weights", Options(configurations=("2d", "3d_cascade_fullres")))
    write_case(place / "inputs", 2, *COMMON)
    return place


@pytest.fixture(scope="module")
def exported(bundle):
    subprocess.run(
        [sys.executable, "-m", "segkit.export", bundle / "weights"], check=True, capture_output=True
    )
    return bundle


def labels(place, settings=None, engine="torch"):
    ct = read_channels(place / "inputs" / "case_0000.nii.gz")
    return Ensemble(place / "weights", settings, engine=engine).segment(ct)


def test_openvino_gives_the_labels_of_torch(exported):
    assert (labels(exported, engine="f32") == labels(exported)).mean() >= 0.999


@pytest.mark.parametrize(
    "settings",
    [EnsembleSettings(folds="probabilities"), EnsembleSettings(images="linear"), EnsembleSettings(step=1.0)],
    ids=["v1", "linear", "apart"],
)
def test_settings_change_little(bundle, settings):
    ours, changed = labels(bundle), labels(bundle, settings)
    assert 0 < (ours != changed).mean() < 0.5


def test_averaging_probabilities_of_one_fold_is_what_its_logits_say(tmp_path):
    results = write_results(tmp_path / "results", Training(("2d",)))
    convert(results, tmp_path / "weights")
    # One tile holds each slice whole, and slices lie on the network's grid: nothing is averaged.
    write_case(tmp_path / "inputs", 1, (5, 24, 16), (2.0, 2.0, 3.0))
    assert np.array_equal(labels(tmp_path), labels(tmp_path, EnsembleSettings(folds="probabilities")))


def test_a_case_of_too_few_channels_is_refused(bundle, tmp_path):
    write_case(tmp_path, 1, *COMMON)
    ct = read_channels(tmp_path / "case_0000.nii.gz")
    with pytest.raises(SegkitError, match="1 channels, and the model wants 2"):
        Ensemble(bundle / "weights", engine="torch").segment(ct)


def test_a_channel_on_another_grid_is_refused(tmp_path):
    write_case(tmp_path, 2, *COMMON)
    image = sitk.ReadImage(str(tmp_path / "case_0001.nii.gz"))
    sitk.WriteImage(image[:-1], str(tmp_path / "case_0001.nii.gz"))
    with pytest.raises(SegkitError, match="resample all channels"):
        read_channels(tmp_path / "case_0000.nii.gz")


def test_an_empty_image_is_background(bundle, tmp_path):
    for number in range(2):
        image = sitk.GetImageFromArray(np.zeros((4, 5, 6), dtype=np.int16))
        sitk.WriteImage(image, str(tmp_path / f"case_{number:04d}.nii.gz"))
    ct = read_channels(tmp_path / "case_0000.nii.gz")
    assert not Ensemble(bundle / "weights", engine="torch").segment(ct).any()


def test_inference_opens_no_pickle(exported, monkeypatch):
    import pickle

    def refuse(*_, **__):
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(pickle, "load", refuse)
    monkeypatch.setattr(pickle, "Unpickler", refuse)
    monkeypatch.setattr(torch, "load", refuse)
    assert labels(exported, engine="f32").any()


def test_integers_come_with_a_certificate(exported, tmp_path):
    pytest.importorskip("nncf")
    from segkit.nnunet.quantise import quantise

    data = tmp_path / "data"
    for number in range(2):
        write_case(tmp_path / "case", 2, *COMMON)
        (data / "imagesTr").mkdir(parents=True, exist_ok=True)
        for channel in range(2):
            source = tmp_path / "case" / f"case_{channel:04d}.nii.gz"
            source.rename(data / "imagesTr" / f"c{number}_{channel:04d}.nii.gz")
        truth = sitk.GetImageFromArray(np.zeros(COMMON[0], dtype=np.uint8))
        (data / "labelsTr").mkdir(exist_ok=True)
        sitk.WriteImage(truth, str(data / "labelsTr" / f"c{number}.nii.gz"))
    told = quantise(exported / "weights", data, calibrate=1, compare=1)
    written = json.loads((exported / "weights" / "int8.json").read_text())
    assert (written["calibrated_on"], written["compared_on"]) == (["c0"], ["c1"])
    assert told.kept and told.voxels_alike > 0.8
    assert (exported / "weights" / "2d" / "fold_1" / "int8.xml").is_file()
    assert not list(exported.rglob("candidate-*"))
    alike = (labels(exported, engine="int8") == labels(exported, engine="f32")).mean()
    assert alike == pytest.approx(told.voxels_alike, abs=1e-6)
