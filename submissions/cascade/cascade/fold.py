"""The same functions in fewer and denser layers, for inference.

Neighbouring linear maps become one, and grouped maps over interleaved channels become dense maps with
zeros: more multiplications, but far fewer copies, which are what these layers cost on a CPU. The result
differs from the original by rounding only.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from cascade.hybrid import SAM, HybridNet
from cascade.layers import LayerNorm, linear


def folded(network: nn.Module) -> nn.Module:
    """A copy of a network for inference; networks that have nothing to fold are copied as they are."""
    network = copy.deepcopy(network).eval()
    if isinstance(network, HybridNet):
        with torch.no_grad():
            _fold_hybrid(network)
    return network


def _fold_hybrid(network: HybridNet) -> None:
    network.stem[3] = dense(network.stem[3])
    network.head = nn.Sequential(joined(*network.head))
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, SAM):
                setattr(module, name, DenseSAM(child))
            elif isinstance(child, LayerNorm):
                setattr(module, name, PlaneLayerNorm(child))


class DenseSAM(nn.Module):
    """`SAM` without interleaving: the order of channels has moved into the weights."""

    def __init__(self, sam: SAM):
        super().__init__()
        self.value, self.scales, self.local = sam.value, sam.scales, sam.local
        self.norm, self.mix_groups, self.project = sam.norm, sam.mix_groups, sam.project
        mix = dense(sam.mix_scales)
        heads = len(sam.local)
        # Channel g of head h stood at g * heads + h, and stands at h * (channels / heads) + g.
        order = torch.arange(mix.in_channels).reshape(-1, heads).T.flatten()
        mix.weight.copy_(mix.weight[:, order])
        self.mix_scales = mix

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        heads = torch.chunk(self.scales(x), len(self.local), dim=1)
        convolved = torch.cat([conv(head) for conv, head in zip(self.local, heads, strict=True)], dim=1)
        modulator = self.mix_groups(functional.gelu(self.norm(self.mix_scales(convolved))))
        return self.project(modulator * self.value(x))


class PlaneLayerNorm(nn.Module):
    """`LayerNorm` in the order of a volume's axes, without moving the channels to the end and back."""

    def __init__(self, norm: LayerNorm):
        super().__init__()
        self.eps = norm.eps
        self.weight = nn.Parameter(norm.weight[None, :, None, None, None])
        self.bias = nn.Parameter(norm.bias[None, :, None, None, None])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        centred = x - x.mean(dim=1, keepdim=True)
        variance = (centred * centred).mean(dim=1, keepdim=True)
        return centred * torch.rsqrt(variance + self.eps) * self.weight + self.bias


def dense(grouped: nn.Conv3d) -> nn.Conv3d:
    """A grouped 1 x 1 x 1 convolution as a dense one with zeros."""
    result = linear(grouped.in_channels, grouped.out_channels)
    result.weight.zero_()
    inputs, outputs = grouped.in_channels // grouped.groups, grouped.out_channels // grouped.groups
    for group in range(grouped.groups):
        mine = slice(group * outputs, (group + 1) * outputs)
        result.weight[mine, group * inputs : (group + 1) * inputs] = grouped.weight[mine]
    result.bias.copy_(grouped.bias)
    return result


def joined(first: nn.ConvTranspose3d, then: nn.Conv3d) -> nn.ConvTranspose3d:
    """A transposed convolution and the 1 x 1 x 1 convolution after it as one."""
    result = nn.ConvTranspose3d(first.in_channels, then.out_channels, first.kernel_size, first.stride)
    mixing = then.weight[:, :, 0, 0, 0]
    result.weight.copy_(torch.einsum("imzyx,om->iozyx", first.weight, mixing))
    result.bias.copy_(mixing @ first.bias + then.bias)
    return result
