"""The cascade's two networks: size, shapes, gradients, and the same answers through OpenVINO."""

# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from cascade.hybrid import LACB, MSA, SAM, HybridNet
from cascade.layers import DropPath, LayerNorm
from cascade.location import LocationNet, PConv

SMALLEST = {LocationNet: (64, 64, 64), HybridNet: (32, 32, 32)}
OUTPUTS = {LocationNet: 2, HybridNet: 14}
BOTH = pytest.mark.parametrize("kind", [LocationNet, HybridNet])


def parameters(network) -> int:
    return sum(weight.numel() for weight in network.parameters())


def image(size, seed=0):
    return torch.randn(1, 1, *size, generator=torch.Generator().manual_seed(seed))


def test_the_parameter_counts_are_the_published_ones():
    assert parameters(LocationNet()) == 1_367_618
    assert parameters(HybridNet()) == 9_373_994
    assert parameters(HybridNet(depths=(2, 4, 6, 2))) == 11_810_714


@BOTH
def test_logits_have_the_size_of_the_image_also_where_its_sides_differ(kind):
    size = tuple(side * factor for side, factor in zip(SMALLEST[kind], (1, 2, 1), strict=True))
    with torch.inference_mode():
        logits = kind().eval()(image(size))
    assert logits.shape == (1, OUTPUTS[kind], *size)
    assert torch.isfinite(logits).all()


@BOTH
def test_every_parameter_learns(kind):
    torch.manual_seed(1)
    network = kind().train()
    target = torch.randint(OUTPUTS[kind], (1, *SMALLEST[kind]), generator=torch.Generator().manual_seed(2))
    torch.nn.functional.cross_entropy(network(image(SMALLEST[kind])), target).backward()
    for name, weight in network.named_parameters():
        assert weight.grad is not None, name
        assert torch.isfinite(weight.grad).all(), name
        # A bias in front of a normalisation is a no-op, and no logit depends on a key's bias.
        if weight.ndim > 1:
            assert weight.grad.abs().sum() > 0, name


@pytest.mark.slow
@BOTH
def test_openvino_gives_the_logits_of_torch(kind, tmp_path):
    pytest.importorskip("openvino")
    from cascade.export import export_openvino
    from segkit.openvino_engine import OpenVINOEngine

    torch.manual_seed(3)
    network = kind().eval()
    tile = image(SMALLEST[kind], seed=4)
    export_openvino(network, SMALLEST[kind], tmp_path / "network.xml")
    with torch.inference_mode():
        expected = network(tile)[0].numpy()
    logits = OpenVINOEngine(tmp_path / "network.xml", threads=1).logits(tile[0, 0].numpy())
    # The file's weights are float16, the arithmetic is float32.
    assert np.abs(logits - expected).max() < 0.01 * expected.std()


def test_a_partial_convolution_changes_the_first_quarter_of_the_channels_only():
    x = torch.randn(1, 8, 4, 4, 4)
    y = PConv(8)(x)
    assert torch.equal(y[:, 2:], x[:, 2:])
    assert not torch.equal(y[:, :2], x[:, :2])


def test_modulation_interleaves_its_three_kernel_sizes():
    sam = SAM(6)
    for number, conv in enumerate(sam.local):
        torch.nn.init.zeros_(conv.weight)
        torch.nn.init.constant_(conv.bias, number)
    seen = []
    sam.mix_scales.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0][0, :, 0, 0, 0]))
    sam(torch.randn(1, 6, 2, 2, 2))
    assert seen[0].tolist() == [0, 1, 2, 0, 1, 2]


def test_attention_is_softmax_of_scaled_products_head_by_head():
    torch.manual_seed(5)
    msa = MSA(8, heads=2)
    torch.nn.init.zeros_(msa.local.weight)
    torch.nn.init.zeros_(msa.local.bias)
    x = torch.randn(1, 8, 2, 3, 4)
    q, k, v = msa.qkv(x)[0].reshape(3, 2, 4, 24)
    attended = [
        torch.softmax(q[head].T @ k[head] / 2.0, dim=1) @ v[head].T  # the root of 4 channels a head
        for head in range(2)
    ]
    expected = msa.project(torch.cat(attended, dim=1).T.reshape(1, 8, 2, 3, 4))
    assert torch.allclose(msa(x), expected, atol=1e-5)


def test_lacb_convolves_along_z_first_and_halves_the_channels():
    lacb = LACB(8, 4)
    assert lacb.along_z[0].weight.shape == (4, 2, 3, 1, 1)
    assert lacb.in_plane[0].weight.shape == (4, 1, 1, 3, 3)
    assert lacb(torch.randn(1, 8, 3, 4, 5)).shape == (1, 4, 3, 4, 5)


def test_layer_norm_normalises_each_voxel_over_its_channels():
    y = LayerNorm(16)(3 + 5 * torch.randn(2, 16, 2, 2, 2))
    assert torch.allclose(y.mean(dim=1), torch.zeros(2, 2, 2, 2), atol=1e-5)
    assert torch.allclose(y.var(dim=1, unbiased=False), torch.ones(2, 2, 2, 2), atol=1e-3)


def test_drop_path_drops_whole_samples_in_training_and_none_in_inference():
    torch.manual_seed(6)
    drop = DropPath(0.5)
    x = torch.ones(64, 1, 2, 2, 2)
    dropped = drop.train()(x).flatten(1)
    assert {tuple(row.tolist()) for row in dropped} == {(0.0,) * 8, (2.0,) * 8}
    assert torch.equal(drop.eval()(x), x)
