"""Phase 2, the hybrid network: 13 organs in the region that phase 1 found, from patches of 96^3.

Its encoder modulates with convolutions where the map is fine (SAM) and attends where it is coarse
(MSA), after the Scale-Aware Modulation Transformer (Lin et al., ICCV 2023). Its decoder is made of
light blocks of factorised depthwise convolutions with a gate (LACB).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from cascade.depthwise import DepthwiseConv3d
from cascade.layers import LayerNorm, linear, upsample

LAYER_NORM_EPS = 1e-6


class SAM(nn.Module):
    """Scale-aware modulation: values weighted by what three sizes of receptive field agree on.

    A third of the channels each is convolved with kernels of 3, 5 and 7; channels are interleaved so
    that each group of three holds all sizes; the groups are mixed and multiply the values.
    """

    kernels = (3, 5, 7)

    def __init__(self, channels: int):
        super().__init__()
        heads = len(self.kernels)
        self.value = linear(channels, channels)
        self.scales = linear(channels, channels)
        self.local = nn.ModuleList(
            DepthwiseConv3d(channels // heads, channels // heads, (kernel,) * 3) for kernel in self.kernels
        )
        self.mix_scales = linear(channels, 2 * channels, groups=channels // heads)
        self.norm = nn.InstanceNorm3d(2 * channels)
        self.mix_groups = linear(2 * channels, channels)
        self.project = linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        heads = torch.chunk(self.scales(x), len(self.kernels), dim=1)
        convolved = [conv(head) for conv, head in zip(self.local, heads, strict=True)]
        interleaved = torch.stack(convolved, dim=2).flatten(1, 2)
        modulator = self.mix_groups(functional.gelu(self.norm(self.mix_scales(interleaved))))
        return self.project(modulator * self.value(x))


class MSA(nn.Module):
    """Multi-head self-attention over all voxels of the map, plus a depthwise convolution of the values."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = linear(channels, 3 * channels)
        self.local = DepthwiseConv3d(channels, channels, (3, 3, 3))
        self.project = linear(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        query, key, value = torch.chunk(self.qkv(x), 3, dim=1)
        attended = functional.scaled_dot_product_attention(
            self._tokens(query), self._tokens(key), self._tokens(value)
        )
        return self.project(attended.transpose(2, 3).reshape(x.shape) + self.local(value))

    def _tokens(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, head, voxel, channel) of (batch, channels, z, y, x)."""
        return x.flatten(2).unflatten(1, (self.heads, -1)).transpose(2, 3)


class FFN(nn.Module):
    """Feed-forward network that sees its neighbours through a depthwise convolution."""

    def __init__(self, channels: int):
        super().__init__()
        self.expand = linear(channels, 2 * channels)
        self.local = DepthwiseConv3d(2 * channels, 2 * channels, (3, 3, 3))
        self.reduce = linear(2 * channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        x = self.expand(x)
        return self.reduce(functional.gelu(x + self.local(x)))


class EncoderBlock(nn.Module):
    """Mixer and feed-forward network, each normalised before and added after."""

    def __init__(self, channels: int, mixer: nn.Module):
        super().__init__()
        self.norm_mixer = LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.mixer = mixer
        self.norm_ffn = LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.ffn = FFN(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        x = x + self.mixer(self.norm_mixer(x))
        return x + self.ffn(self.norm_ffn(x))


class LACB(nn.Module):
    """A depthwise convolution along z, then one in plane, and a gate that lets the first one through.

    The source stores volumes as (x, y, z), where its kernels read (1, 1, 3) and (3, 3, 1).
    """

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.along_z = nn.Sequential(
            DepthwiseConv3d(channels_in, channels_out, (3, 1, 1)),
            nn.BatchNorm3d(channels_out),
            nn.ReLU6(),
        )
        self.in_plane = nn.Sequential(
            DepthwiseConv3d(channels_out, channels_out, (1, 3, 3)), nn.BatchNorm3d(channels_out), nn.ReLU6()
        )
        self.gate = nn.Sequential(
            DepthwiseConv3d(channels_out, channels_out, (1, 1, 1)), nn.BatchNorm3d(channels_out), nn.ReLU6()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels_out, z, y, x)."""
        first = self.along_z(x)
        return self.in_plane(first) + torch.sigmoid(self.gate(first)) * first


class UpBlock(nn.Module):
    """From a coarse map and the finer skip connection to the finer map."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__()
        self.reduce = nn.Sequential(
            DepthwiseConv3d(channels_in, channels_out, (1, 1, 1)), nn.BatchNorm3d(channels_out), nn.ReLU6()
        )
        self.lacb = LACB(2 * channels_out, channels_out)

    def forward(self, coarse: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Same shape as `skip`."""
        raised = upsample(self.reduce(coarse), skip.shape[2:], align_corners=False)
        return self.lacb(torch.cat((raised, skip), dim=1))


class HybridNet(nn.Module):
    """Logits of the background and 13 organs.

    Args:
        outputs: Output channels.
        depths: Encoder blocks per stage. The source's README counts the parameters of (2, 2, 2, 2); its
            scripts build (2, 4, 6, 2).
        channels: Channels of the stages; divisible by 3 and, where attention is used, by `heads`.
        heads: Attention heads of the stages; 0 where a stage has no attention.
    """

    def __init__(
        self,
        outputs: int = 14,
        depths: Sequence[int] = (2, 2, 2, 2),
        channels: Sequence[int] = (60, 120, 240, 480),
        heads: Sequence[int] = (0, 0, 8, 16),
    ):
        super().__init__()
        half = channels[0] // 2
        self.stem = nn.Sequential(
            nn.Conv3d(1, half, 3, stride=2, padding=1, bias=False),
            nn.InstanceNorm3d(half),
            nn.ReLU(),
            linear(half, channels[0], groups=half),
            LayerNorm(channels[0]),
        )
        self.downsample = nn.ModuleList(
            nn.Sequential(nn.Conv3d(fine, coarse, 3, stride=2, padding=1), LayerNorm(coarse))
            for fine, coarse in itertools.pairwise(channels)
        )
        last = len(channels) - 1
        self.stages = nn.ModuleList(
            nn.Sequential(
                *(
                    # Attention in the whole last stage, and in every second block of the one before.
                    EncoderBlock(
                        width,
                        MSA(width, heads[stage])
                        if heads[stage] and (stage == last or number % 2 == 1)
                        else SAM(width),
                    )
                    for number in range(depths[stage])
                ),
                LayerNorm(width, eps=LAYER_NORM_EPS),
            )
            for stage, width in enumerate(channels)
        )
        self.bottleneck = LACB(channels[-1], channels[-1])
        self.up = nn.ModuleList(
            UpBlock(coarse, fine) for coarse, fine in zip(channels[:0:-1], channels[-2::-1], strict=True)
        )
        self.head = nn.Sequential(nn.ConvTranspose3d(channels[0], half, 2, stride=2), linear(half, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, outputs, z, y, x) of a normalised patch (batch, 1, z, y, x); sizes divide by 16."""
        x = self.stem(x)
        levels = []
        for number, stage in enumerate(self.stages):
            if number:
                x = self.downsample[number - 1](x)
            x = stage(x)
            levels.append(x)
        x = x + self.bottleneck(x)
        for up, skip in zip(self.up, levels[-2::-1], strict=True):
            x = up(x, skip)
        return self.head(x)
