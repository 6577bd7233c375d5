# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

import json

from segkit.convert import without_aliases
from segkit.network import PlainConvUNet
from segkit.plan import NetworkPlan

from .nnunet_files import plain_unet

S4D2W32 = {
    "channels_in": 1,
    "features": (32, 64, 128, 256),
    "kernels": ((3, 3, 3),) * 4,
    "strides": ((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
    "convs_encoder": (2, 2, 2, 2),
    "convs_decoder": (2, 2, 2),
}


@pytest.mark.parametrize(("outputs", "parameters"), [(2, 5_602_950), (14, 5_605_674), (15, 5_605_901)])
def test_the_small_unet_has_the_published_number_of_parameters(outputs, parameters):
    network = PlainConvUNet(NetworkPlan(channels_out=outputs, **S4D2W32))
    assert sum(weight.numel() for weight in network.parameters()) == parameters


def nnunet_network(architecture: dict, outputs: int):
    pytest.importorskip("nnunetv2")
    from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

    return get_network_from_plans(
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
        1,
        outputs,
        deep_supervision=False,
    ).eval()


def test_with_the_weights_of_nnunet_the_output_is_the_same(submissions):
    architecture = json.loads((submissions / "small_unet/plans/architecture.json").read_text())
    torch.manual_seed(1)
    theirs = nnunet_network(architecture, 15)
    ours = PlainConvUNet(NetworkPlan(channels_out=15, **S4D2W32)).eval()
    ours.load_state_dict(without_aliases(theirs.state_dict()))
    image = torch.randn(1, 1, 16, 24, 32)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))


def test_anisotropic_kernels_and_strides_match_too():
    architecture = plain_unet(
        [4, 8, 16],
        kernels=[[1, 3, 3], [3, 3, 3], [3, 3, 3]],
        strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2]],
        convs=[1, 2, 3],
        convs_decoder=[2, 1],
    )
    theirs = nnunet_network(architecture, 4)
    plan = NetworkPlan(
        channels_in=1,
        channels_out=4,
        features=(4, 8, 16),
        kernels=((1, 3, 3), (3, 3, 3), (3, 3, 3)),
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2)),
        convs_encoder=(1, 2, 3),
        convs_decoder=(2, 1),
    )
    ours = PlainConvUNet(plan).eval()
    ours.load_state_dict(without_aliases(theirs.state_dict()))
    image = torch.randn(1, 1, 8, 16, 12)
    with torch.inference_mode():
        assert torch.equal(ours(image), theirs(image))
