"""Agreement with nnU-Net's own predictor on the same weights.

`Reference` does what nnU-Net does and agrees with it as it is, whatever the plans say of resampling.
`Segmenter` sums in float32, resamples linearly and may crop; with nnU-Net's sums in float32, linear plans
and no crop the two agree as well, so that nothing but those choices lies between them.
"""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json
import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("nnunetv2")

import SimpleITK as sitk
from segkit import Segmenter, Settings, TorchEngine
from segkit.convert import without_aliases
from segkit.image import from_image
from segkit.network import PlainConvUNet
from segkit.plan import from_nnunet
from segkit.reference import Reference

from .conftest import make_body_hu
from .nnunet_files import dataset_json, plans_json

VOLUMES = [
    pytest.param((30, 50, 44), (1.0, 1.0, 1.5), id="common"),
    pytest.param((9, 60, 60), (0.8, 0.8, 5.0), id="anisotropic"),
    pytest.param((6, 7, 8), (2.0, 2.0, 3.0), id="smaller-than-the-tile"),
    pytest.param((1, 1, 2), (2.0, 2.0, 3.0), id="two-voxels"),
    pytest.param((8, 12, 12), (3.1, 2.9, 4.0), id="coarser-than-the-grid"),
    pytest.param((12, 18, 26), (2.0, 2.0, 3.0), id="on-the-grid"),
]
TILTED = (np.cos(0.3), -np.sin(0.3), 0, np.sin(0.3), np.cos(0.3), 0, 0, 0, 1)
TURNED = (0, 0, -1, 1, 0, 0, 0, -1, 0)


@pytest.mark.parametrize("mirror_axes", [(), (0, 2)], ids=["plain", "mirrored"])
@pytest.mark.parametrize("plans", ["linear", "as planned by nnU-Net"])
@pytest.mark.parametrize(("shape", "spacing"), VOLUMES)
def test_the_reference_agrees_with_nnunet_as_it_is(shape, spacing, plans, mirror_axes):
    settings = plans_json() if plans == "linear" else with_nnunets_resampling(plans_json())
    ours, theirs = both(reference, shape, spacing, settings, mirror_axes)
    assert (ours != theirs).sum() <= max(2, 1e-4 * ours.size)


def test_the_reference_agrees_on_a_volume_of_hundreds_of_tiles():
    ours, theirs = both(reference, (70, 190, 180), (0.8, 0.8, 1.0), with_nnunets_resampling(plans_json()))
    assert (ours != theirs).sum() <= 1e-4 * ours.size


@pytest.mark.parametrize("direction", [TILTED, TURNED], ids=["oblique", "axes exchanged"])
def test_the_reference_agrees_however_the_volume_lies(direction):
    ours, theirs = both(reference, (30, 50, 44), (1.0, 1.0, 1.5), plans_json(), (), direction)
    assert (ours != theirs).sum() <= max(2, 1e-4 * ours.size)


@pytest.mark.parametrize(("shape", "spacing"), VOLUMES)
def test_the_segmenter_is_close_to_nnunet_as_it_is(shape, spacing):
    ours, theirs = both(segmenter, shape, spacing, plans_json())
    assert (ours == theirs).mean() >= 0.995


@pytest.mark.parametrize("mirror_axes", [(), (2,), (0, 1, 2)])
@pytest.mark.parametrize(("shape", "spacing"), VOLUMES)
def test_the_segmenter_agrees_with_nnunet_in_float32(shape, spacing, mirror_axes, monkeypatch):
    from nnunetv2.inference import predict_from_raw_data

    def gaussian_in_float32(tile, **options):
        return compute_gaussian(tile, **{**options, "dtype": torch.float32})

    compute_gaussian = predict_from_raw_data.compute_gaussian
    monkeypatch.setattr(predict_from_raw_data, "compute_gaussian", gaussian_in_float32)
    monkeypatch.setattr(predict_from_raw_data, "torch", TorchWithoutHalf("torch"))
    ours, theirs = both(segmenter, shape, spacing, plans_json(), mirror_axes)
    # A voxel or two of a tiny volume are ties of two labels, which rounding decides.
    assert (ours != theirs).sum() <= max(2, 1e-4 * ours.size)


class TorchWithoutHalf(types.ModuleType):
    """torch, but what asks for half gets float32."""

    def __getattr__(self, name):
        return getattr(torch, "float32" if name in ("half", "float16") else name)


def with_nnunets_resampling(plans: dict) -> dict:
    """The plans with the resampling that nnU-Net plans by itself: cubic, slices apart where anisotropic."""
    settings = plans["configurations"]["3d_fullres"]
    image = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    settings["resampling_fn_data_kwargs"] = image
    settings["resampling_fn_probabilities_kwargs"] = {**image, "order": 1}
    return plans


def reference(plan, network, ct, mirror_axes):
    return Reference(plan, network, mirror_axes=mirror_axes).segment(ct)


def segmenter(plan, network, ct, mirror_axes):
    settings = Settings(step=0.5, crop_to_body=False, skip_air_tiles=False, mirror_axes=mirror_axes)
    return Segmenter(plan, TorchEngine(network), settings).segment(ct)


def both(run, shape, spacing, plans, mirror_axes=(), direction=None) -> tuple[np.ndarray, np.ndarray]:
    """The labels of segkit and of nnU-Net for a random network on the same volume, as stored."""
    array = make_body_hu(shape, seed=3)
    dataset = dataset_json()
    network = random_network(plans, dataset)
    theirs = labels_by_nnunet(array, spacing, plans, dataset, network, mirror_axes)

    plan = from_nnunet(plans, dataset, "3d_fullres", "stored")
    ours = PlainConvUNet(plan.network)
    ours.load_state_dict(without_aliases(network.state_dict()))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    if direction is not None:
        image.SetDirection(direction)
    ct = from_image(image)
    assert len(np.unique(theirs)) > 1 or theirs.size < 1000
    return ct.orientation.to_stored(run(plan, ours, ct, mirror_axes)), theirs


def random_network(plans: dict, dataset: dict):
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    torch.manual_seed(0)
    architecture = plans["configurations"]["3d_fullres"]["architecture"]
    return get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        len(dataset["labels"]),
        deep_supervision=False,
    )


def labels_by_nnunet(array, spacing, plans, dataset, network, mirror_axes) -> np.ndarray:
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = json.loads(json.dumps(plans))
    manager = PlansManager(plans)
    predictor = nnUNetPredictor(
        tile_step_size=0.5,
        use_gaussian=True,
        use_mirroring=bool(mirror_axes),
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.manual_initialization(
        network,
        manager,
        manager.get_configuration("3d_fullres"),
        [network.state_dict()],
        dataset,
        "none",
        mirror_axes,
    )
    properties = {"spacing": list(spacing[::-1])}
    return predictor.predict_single_npy_array(array[None].astype(np.float32), properties)
