"""Bundles against nnU-Net's own prediction, ensembling and post-processing with the same weights."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

from segkit.cases import read_channels
from segkit.nnunet.convert import Options, convert
from segkit.nnunet.predict import Ensemble, EnsembleSettings

from .nnunet_results import REGIONS, Training, labels_by_nnunet, write_case, write_results

TURNED = (0, 0, -1, 1, 0, 0, 0, -1, 0)
BOTH = ("2d", "3d_fullres")
FOUR = ("2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres")
TORCH = {
    "resampling_fn_data": "resample_torch_fornnunet",
    "resampling_fn_data_kwargs": {"is_seg": False, "force_separate_z": False},
    "resampling_fn_probabilities": "resample_torch_fornnunet",
    "resampling_fn_probabilities_kwargs": {"is_seg": False, "force_separate_z": False},
}
TWO_CHANNELS = {"schemes": ("CTNormalization", "ZScoreNormalization")}
COMMON = ((30, 50, 44), (1.0, 1.0, 1.5))
FLAT = ((9, 60, 60), (0.8, 0.8, 5.0))
TINY = ((6, 7, 8), (2.0, 2.0, 3.0))

KINDS = [
    pytest.param(Training(), COMMON, id="3d_fullres"),
    pytest.param(Training(("2d",), folds=("0", "1", "2")), COMMON, id="2d of three folds"),
    pytest.param(Training(("2d",)), FLAT, id="2d, flat"),
    pytest.param(Training(("3d_lowres",), folds=("all",)), COMMON, id="3d_lowres, fold all"),
    pytest.param(Training(("3d_lowres", "3d_cascade_fullres"), folds=("0", "1")), COMMON, id="cascade"),
    pytest.param(Training(("3d_lowres", "3d_cascade_fullres")), FLAT, id="cascade, flat"),
    pytest.param(Training(residual=True), COMMON, id="residual encoder"),
    pytest.param(Training(("2d",), residual=True), COMMON, id="residual encoder, 2d"),
    pytest.param(Training(BOTH, folds=("0", "1")), COMMON, id="2d and 3d_fullres"),
    pytest.param(Training(BOTH), FLAT, id="2d and 3d_fullres, flat"),
    pytest.param(Training(FOUR), COMMON, id="all four"),
    pytest.param(Training(labels=REGIONS), COMMON, id="regions"),
    pytest.param(Training(BOTH, labels=REGIONS), COMMON, id="regions of two"),
    pytest.param(
        Training(("3d_lowres", "3d_cascade_fullres"), labels=REGIONS), COMMON, id="regions, cascade"
    ),
    pytest.param(Training(**TWO_CHANNELS), COMMON, id="two channels"),
    pytest.param(Training(**TWO_CHANNELS, masked=True), COMMON, id="two channels, masked"),
    pytest.param(Training(schemes=("RescaleTo01Normalization",)), COMMON, id="rescaled"),
    pytest.param(Training(schemes=("NoNormalization",)), COMMON, id="not normalised"),
    pytest.param(Training(BOTH, transpose=(2, 0, 1)), COMMON, id="transposed"),
    pytest.param(Training(("2d",), transpose=(1, 0, 2)), FLAT, id="transposed 2d, flat"),
    pytest.param(
        Training(("3d_lowres", "3d_cascade_fullres"), transpose=(1, 2, 0)), COMMON, id="transposed cascade"
    ),
    pytest.param(Training(reader="NibabelIOWithReorient"), COMMON, id="turned to RAS"),
    pytest.param(Training(reader="SimpleITKIOWithReorient"), COMMON, id="turned to RAS by ITK"),
    pytest.param(Training(reader="NibabelIO"), COMMON, id="nibabel"),
    pytest.param(Training(changes=TORCH), COMMON, id="resampled by torch"),
    pytest.param(Training(BOTH), TINY, id="smaller than a tile"),
]


@pytest.mark.parametrize(("training", "volume"), KINDS)
def test_a_bundle_says_what_nnunet_says(tmp_path, training, volume):
    ours, theirs = both(tmp_path, training, volume)
    assert len(np.unique(theirs)) > 1
    assert (ours != theirs).sum() <= max(1, 1e-3 * ours.size)


@pytest.mark.parametrize("names", [("3d_fullres",), BOTH, ("3d_lowres", "3d_cascade_fullres")])
def test_mirroring_is_a_setting(tmp_path, names):
    ours, theirs = both(tmp_path, Training(names, mirror_axes=(0, 1)), COMMON, mirror=True)
    assert (ours != theirs).sum() <= 1e-3 * ours.size


@pytest.mark.parametrize("direction", [TURNED, (-1, 0, 0, 0, -1, 0, 0, 0, 1)])
@pytest.mark.parametrize("reader", ["SimpleITKIO", "NibabelIOWithReorient"])
def test_however_the_volume_lies(tmp_path, direction, reader):
    ours, theirs = both(tmp_path, Training(reader=reader), COMMON, direction=direction)
    assert (ours != theirs).sum() <= 1e-3 * ours.size


@pytest.mark.parametrize("rules", [[[1, 2]], [1], [2, 1], [(1, 2)], [[1, 2], 1]])
def test_post_processing(tmp_path, rules):
    ours, theirs = both(tmp_path, Training(BOTH), COMMON, rules=rules)
    assert (ours != theirs).sum() <= 1e-3 * ours.size


def both(
    tmp_path, training, volume, *, direction=None, mirror=False, rules=()
) -> tuple[np.ndarray, np.ndarray]:
    """The labels of a bundle and of nnU-Net, as stored."""
    results = write_results(tmp_path / "results", training)
    inputs = tmp_path / "inputs"
    write_case(inputs, len(training.schemes), *volume, direction, zeros=training.masked or volume is COMMON)
    names = training.configurations
    names = names[1:] if names[0] == "3d_lowres" and len(names) > 1 else names
    options = Options(configurations=names)
    if rules:
        options = Options(configurations=names, postprocessing=str(pickled(tmp_path, rules)))
    bundle = convert(results, tmp_path / "bundle", options)
    assert bundle.ensemble == names
    ensemble = Ensemble(tmp_path / "bundle", EnsembleSettings(mirror=mirror), engine="torch")
    ct = read_channels(inputs / "case_0000.nii.gz")
    ours = ct.orientation.to_stored(ensemble.segment(ct))
    return ours, labels_by_nnunet(results, names, inputs, tmp_path / "nnunet", mirror=mirror, rules=rules)


def pickled(folder, rules):
    from batchgenerators.utilities.file_and_folder_operations import save_pickle
    from nnunetv2.postprocessing.remove_connected_components import (
        remove_all_but_largest_component_from_segmentation,
    )

    path = folder / "postprocessing.pkl"
    functions = [remove_all_but_largest_component_from_segmentation] * len(rules)
    save_pickle((functions, [{"labels_or_regions": rule} for rule in rules]), str(path))
    return path
