"""The teacher's network: levels, blocks, gates, and what it refuses."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import json

import pytest

torch = pytest.importorskip("torch")

from distilled.attention_unet import (
    AttentionUNet2d,
    ChannelAttention,
    DoubleAttentionGate,
    GridAttentionGate,
    NonLocalBlock,
    SEConvBlock,
    published_levels,
)

from .attention_unets import images, tiny_network
from .conftest import SUBMISSIONS

METHOD = SUBMISSIONS / "distilled_student"


def architecture(schedule: str) -> dict:
    return json.loads((METHOD / "plans" / f"teacher.{schedule}.json").read_text())["architecture"]


def parameters(network) -> int:
    return sum(weight.numel() for weight in network.parameters())


def test_the_published_teacher_has_its_62_9_million_parameters():
    with torch.device("meta"):
        network = AttentionUNet2d(1, 2, **architecture("full")["arch_kwargs"])
    assert parameters(network) == 62_934_228
    assert network.divisor == (128, 128)


@pytest.mark.parametrize("schedule", ["full", "short"])
def test_a_recipe_s_levels_are_the_published_order_for_its_depth(schedule):
    described = architecture(schedule)["arch_kwargs"]
    assert tuple(described["decoder_levels"]) == published_levels(len(described["strides"]) - 1)


@pytest.mark.parametrize(
    ("count", "levels"),
    [
        (1, "plain"),
        (2, "plain non_local"),
        (3, "plain non_local gated"),
        (4, "plain non_local gated open"),
        (7, "plain non_local gated gated gated open open"),
    ],
)
def test_a_shallow_decoder_keeps_the_coarse_end_of_the_published_one(count, levels):
    assert published_levels(count) == tuple(levels.split())


def test_nnunet_builds_it_from_a_recipe():
    build = pytest.importorskip("nnunetv2.utilities.get_network_from_plans").get_network_from_plans
    described = architecture("short")
    network = build(
        described["network_class_name"],
        described["arch_kwargs"],
        described["_kw_requires_import"],
        1,
        2,
        deep_supervision=True,
    )
    assert isinstance(network, AttentionUNet2d)
    assert network.decoder.deep_supervision


def test_deep_supervision_gives_every_level_finest_first_and_the_switch_leaves_the_finest():
    network = tiny_network(deep_supervision=True).eval()
    with torch.inference_mode():
        outputs = network(images(64, 96))
        network.decoder.deep_supervision = False
        finest = network(images(64, 96))
    assert [tuple(output.shape) for output in outputs] == [
        (2, 2, 64 >> level, 96 >> level) for level in range(5)
    ]
    assert torch.equal(finest, outputs[0])


def test_strides_may_differ_between_axes_and_stages():
    network = tiny_network(
        features_per_stage=[4, 6, 8, 8], strides=[[1, 1], [1, 2], [2, 2], [2, 1]], kernel_sizes=3
    )
    assert network.divisor == (4, 4)
    assert network(images(12, 20)).shape == (2, 2, 12, 20)


def test_every_parameter_learns():
    network = tiny_network(deep_supervision=True)
    for module in network.modules():
        if isinstance(module, NonLocalBlock):
            torch.nn.init.ones_(module.out[1].weight)
    target = torch.randint(2, (2, 64, 64), generator=torch.Generator().manual_seed(1))
    loss = sum(
        torch.nn.functional.cross_entropy(output, target[:, :: 1 << level, :: 1 << level])
        for level, output in enumerate(network(images(64, 64)))
    )
    loss.backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        # A bias in front of a normalisation does nothing.
        if weight.ndim > 1:
            assert weight.grad.abs().sum() > 0, name


def test_an_image_that_cannot_be_halved_often_enough_is_refused_with_the_mend():
    with pytest.raises(ValueError, match=r"pad its sides to multiples of \(32, 32\)"):
        tiny_network()(images(64, 50))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"decoder_levels": ["plain"]}, "one level of the decoder less, not 1"),
        ({"decoder_levels": ["plain", "shut", "gated", "open", "open"]}, "shut"),
        ({"strides": [[1, 1]]}, "as many strides, not 1"),
    ],
)
def test_arguments_that_describe_no_network_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        tiny_network(**changes)


# Its parts.


def test_a_non_local_block_begins_as_the_identity_and_then_sees_everywhere():
    torch.manual_seed(0)
    block = NonLocalBlock(8).eval()
    features = torch.randn(1, 8, 6, 6)
    assert torch.equal(block(features), features)

    torch.nn.init.ones_(block.out[1].weight)
    features.requires_grad_()
    block(features)[0, :, 0, 0].sum().backward()
    reached = features.grad.abs().sum((0, 1)) > 0
    # Of each 2 x 2 pixels the largest of a channel is the key; all four corners hold some.
    assert reached[:2, :2].any() and reached[:2, -2:].any()
    assert reached[-2:, :2].any() and reached[-2:, -2:].any()


def test_a_non_local_block_also_takes_one_pixel_and_odd_sizes():
    block = NonLocalBlock(8).eval()
    for size in ((1, 1), (5, 3)):
        assert block(torch.randn(1, 8, *size)).shape == (1, 8, *size)


def test_a_shut_gate_hides_the_skip_and_an_open_one_lets_it_through():
    torch.manual_seed(0)
    gate = GridAttentionGate(4, 6).eval()
    below = torch.randn(1, 6, 4, 4)
    one, other = torch.randn(1, 4, 8, 8), torch.randn(1, 4, 8, 8)
    torch.nn.init.zeros_(gate.psi.weight)

    torch.nn.init.constant_(gate.psi.bias, -200.0)
    assert torch.equal(gate(one, below), gate(other, below))

    torch.nn.init.constant_(gate.psi.bias, 200.0)
    assert torch.equal(gate.openness(one, below), torch.ones(1, 1, 8, 8))
    assert torch.allclose(gate(one, below), gate.out(one))


def test_what_opens_a_gate_is_the_level_below_at_the_same_place():
    gate = GridAttentionGate(1, 1).eval()
    for layer, weight in ((gate.theta, 0.0), (gate.phi, 1.0), (gate.psi, 20.0)):
        torch.nn.init.constant_(layer.weight, weight)
    torch.nn.init.zeros_(gate.phi.bias)
    torch.nn.init.constant_(gate.psi.bias, -10.0)
    below = torch.zeros(1, 1, 4, 4)
    below[..., :2, :] = 1.0
    openness = gate.openness(torch.ones(1, 1, 8, 8), below)[0, 0]
    assert (openness[:3] > 0.99).all()
    assert (openness[-3:] < 0.01).all()


def test_the_two_gates_of_a_pair_are_not_the_same_one():
    torch.manual_seed(0)
    pair = DoubleAttentionGate(4, 6).eval()
    skip, below = torch.randn(1, 4, 8, 8), torch.randn(1, 6, 4, 4)
    assert not torch.equal(pair.first.openness(skip, below), pair.second.openness(skip, below))
    assert pair(skip, below).shape == skip.shape


@pytest.mark.parametrize("pooling", ["average", "maximum"])
def test_channel_attention_heeds_the_average_and_the_maximum(pooling):
    torch.manual_seed(0)
    attention = ChannelAttention(8, 4).eval()
    torch.nn.init.constant_(attention.fc[0].bias, 1.0)
    before = torch.zeros(1, 8, 4, 4)
    before[..., 0, 0] = 1.0
    after = before.clone()
    if pooling == "average":
        after[..., 1, 1] = 0.8
    else:
        after[..., 0, 0], after[..., 0, 1] = 1.5, -0.5
    assert torch.allclose(before.mean((2, 3)), after.mean((2, 3))) == (pooling == "maximum")
    assert torch.equal(before.amax((2, 3)), after.amax((2, 3))) == (pooling == "average")

    weights = [(attention(features) / features)[:, :, 0, 0] for features in (before, after)]
    assert not torch.allclose(*weights, atol=1e-4)


def test_channel_attention_adds_both_maps_so_a_channel_keeps_at_most_twice_its_size():
    attention = ChannelAttention(4, 2).eval()
    torch.nn.init.zeros_(attention.fc[2].weight)
    features = torch.randn(1, 4, 3, 3)
    torch.nn.init.constant_(attention.fc[2].bias, 100.0)
    assert torch.allclose(attention(features), 2 * features)
    torch.nn.init.constant_(attention.fc[2].bias, -100.0)
    assert torch.allclose(attention(features), torch.zeros_like(features))


def test_an_se_block_keeps_the_size_whatever_it_is():
    assert SEConvBlock(6, 4)(torch.randn(2, 6, 5, 7)).shape == (2, 4, 5, 7)


def test_half_of_the_feature_maps_behind_the_non_local_level_are_dropped_in_training_alone():
    network = tiny_network()
    kinds = [type(level.dropout).__name__ for level in network.decoder.levels]
    assert kinds == ["Identity", "Dropout2d", "Identity", "Identity", "Identity"]
    assert network.decoder.levels[1].dropout.p == 0.5
    image = images(64, 64)
    network.eval()
    with torch.inference_mode():
        assert torch.equal(network(image), network(image))
    network.train()
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
