# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")


from cascade.fold import DenseSAM, PlaneLayerNorm, dense, folded, joined
from cascade.hybrid import SAM, HybridNet
from cascade.layers import LayerNorm, linear
from cascade.location import LocationNet


def shaken(module):
    """The module with every weight moved, so that none is one or zero by its initialisation."""
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in module.parameters():
            weight += 0.1 * torch.randn_like(weight)
    return module.eval()


def test_a_folded_network_answers_as_the_original_which_stays_as_it_was():
    network = shaken(HybridNet())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.inference_mode():
        expected, result = network(image), folded(network)(image)
    assert torch.allclose(result, expected, atol=1e-3 * float(expected.std()))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert not any(isinstance(module, SAM | LayerNorm) for module in folded(network).modules())


def test_a_network_with_nothing_to_fold_is_copied():
    network = LocationNet()
    copy = folded(network)
    assert copy is not network
    assert all(
        torch.equal(one, other) for one, other in zip(network.parameters(), copy.parameters(), strict=True)
    )


@torch.inference_mode()
def test_each_fold_is_exact():
    x = torch.randn(2, 12, 3, 4, 5)
    sam, norm, grouped = shaken(SAM(12)), shaken(LayerNorm(12)), linear(12, 24, groups=4)
    up, then = torch.nn.ConvTranspose3d(12, 6, 2, stride=2), linear(6, 3)
    for original, fold in (
        (sam, DenseSAM(sam)),
        (norm, PlaneLayerNorm(norm)),
        (grouped, dense(grouped)),
        (torch.nn.Sequential(up, then), joined(up, then)),
    ):
        assert torch.allclose(fold(x), original(x), atol=1e-5)
