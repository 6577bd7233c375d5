"""Agreement with nnU-Net's own predictor where both preprocess alike.

What is made alike: nnU-Net resamples linearly on all axes (order 1, no separate z) instead of by
cubic splines, and segkit neither crops to the body nor skips tiles. What still differs: nnU-Net
weights and sums logits in float16, segkit in float32. At the corners of a volume the Gaussian weights
underflow in float16 and leave nnU-Net's logits a few bits, so labels differ there where classes are
close; with nnU-Net's sums in float32 the two agree.
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

from .conftest import make_body_hu
from .nnunet_files import dataset_json, plans_json

VOLUMES = [
    ((30, 50, 44), (1.0, 1.0, 1.5)),
    ((9, 60, 60), (0.8, 0.8, 5.0)),
    ((6, 7, 8), (2.0, 2.0, 3.0)),
    ((20, 20, 20), (3.1, 2.9, 4.0)),
    ((12, 20, 40), (2.0, 2.0, 3.0)),
]


@pytest.mark.parametrize(("shape", "spacing"), VOLUMES)
def test_labels_agree_with_those_of_nnunet_as_it_is(shape, spacing):
    ours, theirs = both(shape, spacing)
    assert (ours == theirs).mean() >= 0.995


@pytest.mark.parametrize("mirror_axes", [(), (2,), (0, 1, 2)])
@pytest.mark.parametrize(("shape", "spacing"), VOLUMES)
def test_labels_agree_with_those_of_nnunet_in_float32(shape, spacing, mirror_axes, monkeypatch):
    from nnunetv2.inference import predict_from_raw_data

    def gaussian_in_float32(tile, **options):
        return compute_gaussian(tile, **{**options, "dtype": torch.float32})

    compute_gaussian = predict_from_raw_data.compute_gaussian
    monkeypatch.setattr(predict_from_raw_data, "compute_gaussian", gaussian_in_float32)
    monkeypatch.setattr(predict_from_raw_data, "torch", TorchWithoutHalf("torch"))
    ours, theirs = both(shape, spacing, mirror_axes)
    # A voxel or two of a tiny volume are ties of two labels, which rounding decides.
    assert (ours != theirs).sum() <= max(2, 1e-4 * ours.size)


class TorchWithoutHalf(types.ModuleType):
    """torch, but what asks for half gets float32."""

    def __getattr__(self, name):
        return getattr(torch, "float32" if name in ("half", "float16") else name)


def both(shape, spacing, mirror_axes=()) -> tuple[np.ndarray, np.ndarray]:
    """The labels of segkit and of nnU-Net for a random network on the same volume."""
    array = make_body_hu(shape, seed=3)
    plans, dataset = plans_json(), dataset_json()
    network = random_network(plans, dataset)
    theirs = labels_by_nnunet(array, spacing, plans, dataset, network, mirror_axes)

    plan = from_nnunet(plans, dataset, "3d_fullres", "stored")
    ours = PlainConvUNet(plan.network)
    ours.load_state_dict(without_aliases(network.state_dict()))
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    settings = Settings(step=0.5, crop_to_body=False, skip_air_tiles=False, mirror_axes=mirror_axes)
    labels = Segmenter(plan, TorchEngine(ours), settings).segment(from_image(image))
    assert len(np.unique(theirs)) > 1
    return labels, theirs


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
