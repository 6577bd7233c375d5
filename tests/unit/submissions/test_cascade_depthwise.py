# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")


from cascade import depthwise
from cascade.depthwise import WAYS, DepthwiseConv3d, quickest_on

CASES = pytest.mark.parametrize(
    ("channels_in", "kernel"),
    [(4, (3, 3, 3)), (4, (7, 5, 3)), (8, (3, 1, 1)), (4, (1, 1, 1)), (8, (1, 3, 3))],
)


def pair(channels_in, kernel):
    """The layer and torch's own with the same weights."""
    torch.manual_seed(0)
    ours = DepthwiseConv3d(channels_in, 4, kernel)
    padding = tuple(size // 2 for size in kernel)
    torchs = torch.nn.Conv3d(channels_in, 4, kernel, padding=padding, groups=4)
    torchs.load_state_dict(ours.state_dict())
    return ours.double(), torchs.double()


@CASES
def test_output_and_gradients_are_those_of_torch(channels_in, kernel):
    ours, torchs = pair(channels_in, kernel)
    image = torch.randn(2, channels_in, 5, 6, 7, dtype=torch.float64)
    results = []
    for layer in (ours, torchs):
        x = image.clone().requires_grad_()
        y = layer(x)
        (y * torch.arange(y.numel()).reshape(y.shape)).sum().backward()
        results.append((y, x.grad, layer.weight.grad, layer.bias.grad))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other)


@CASES
def test_inference_uses_torchs_own_convolution(channels_in, kernel):
    ours, torchs = pair(channels_in, kernel)
    image = torch.randn(1, channels_in, 4, 4, 4, dtype=torch.float64)
    with torch.inference_mode():
        assert torch.equal(ours.eval()(image), torchs(image))


def test_it_takes_part_in_autocast():
    layer = DepthwiseConv3d(4, 4, (3, 3, 3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = layer(torch.randn(1, 4, 4, 4, 4))
    assert y.dtype == torch.bfloat16
    y.float().square().sum().backward()
    assert layer.weight.grad.dtype == torch.float32


@CASES
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_every_way_for_a_gpu_gives_torchs_output_and_gradients(channels_in, kernel, way):
    ours, torchs = pair(channels_in, kernel)
    image = torch.randn(2, channels_in, 5, 6, 7, dtype=torch.float64)
    results = []
    for run in (lambda x: way(ours, x), torchs):
        x = image.clone().requires_grad_()
        y = run(x)
        layer = torchs if run is torchs else ours
        (y * torch.arange(y.numel()).reshape(y.shape)).sum().backward()
        results.append((y, x.grad, layer.weight.grad, layer.bias.grad))
    for one, other in zip(*results, strict=True):
        assert torch.allclose(one, other)


def test_the_quickest_way_is_measured_once_for_a_layer_and_a_size(monkeypatch):
    asked = []
    monkeypatch.setattr(depthwise, "_quickest", {})
    monkeypatch.setattr(
        depthwise, "_seconds", lambda way, *_: asked.append(way) or way.__name__ != "as_slices"
    )
    ours, _ = pair(4, (3, 3, 3))
    image = torch.zeros(1, 4, 4, 4, 4)
    assert quickest_on(ours, image) is quickest_on(ours, image) is depthwise.as_slices
    assert len(asked) == 3
    large, _ = pair(4, (7, 5, 3))
    quickest_on(large, image)
    assert depthwise.as_products not in asked[3:]
