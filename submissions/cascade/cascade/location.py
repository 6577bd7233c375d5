"""Phase 1, the location network: where the abdomen's organs are, from the whole CT at 128^3.

A pyramid of partial convolutions (FasterNet: Chen et al., "Run, Don't Walk", CVPR 2023) under a head
that brings its four levels together with linear maps (SegFormer: Xie et al., NeurIPS 2021).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from cascade.layers import DropPath, linear, upsample


class PConv(nn.Module):
    """Partial convolution: 3 x 3 x 3 over the first quarter of the channels, the others pass unchanged."""

    def __init__(self, channels: int):
        super().__init__()
        self.sizes = (channels // 4, channels - channels // 4)
        self.conv = nn.Conv3d(self.sizes[0], self.sizes[0], 3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        changed, unchanged = torch.split(x, self.sizes, dim=1)
        return torch.cat((self.conv(changed), unchanged), dim=1)


class PConvBlock(nn.Module):
    """A partial convolution for space, then a two-layer perceptron for channels, with a residual."""

    def __init__(self, channels: int, drop_path: float):
        super().__init__()
        self.pconv = PConv(channels)
        self.mlp = nn.Sequential(
            linear(channels, 2 * channels, bias=False),
            nn.InstanceNorm3d(2 * channels),
            nn.ReLU(),
            linear(2 * channels, channels, bias=False),
        )
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Same shape as `x`."""
        return x + self.drop_path(self.mlp(self.pconv(x)))


class LocationNet(nn.Module):
    """Logits of background and organ.

    Args:
        channels: Channels of the four levels.
        depth: Blocks per level.
        head_channels: Channels that each level brings to the head.
        drop_path: Largest probability of stochastic depth; grows linearly from 0 over the blocks.
    """

    def __init__(
        self,
        channels: Sequence[int] = (32, 64, 128, 256),
        depth: int = 2,
        head_channels: int = 64,
        drop_path: float = 0.1,
    ):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv3d(1, channels[0], 4, stride=4, bias=False), nn.InstanceNorm3d(channels[0])
        )
        rates = torch.linspace(0, drop_path, depth * len(channels)).tolist()
        self.stages = nn.ModuleList(
            nn.Sequential(*(PConvBlock(width, rates[level * depth + number]) for number in range(depth)))
            for level, width in enumerate(channels)
        )
        self.downsample = nn.ModuleList(
            nn.Sequential(nn.Conv3d(fine, coarse, 2, stride=2, bias=False), nn.InstanceNorm3d(coarse))
            for fine, coarse in itertools.pairwise(channels)
        )
        self.stage_norms = nn.ModuleList(nn.InstanceNorm3d(width) for width in channels)
        self.head = nn.ModuleList(linear(width, head_channels) for width in channels)
        # One group per head channel. The levels are interleaved by `forward`, so that each group sees
        # its channel of every level.
        self.fuse = linear(len(channels) * head_channels, head_channels, groups=head_channels)
        self.classify = linear(head_channels, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits (batch, 2, z, y, x) of a normalised image (batch, 1, z, y, x); sizes divide by 32."""
        size = x.shape[2:]
        x = self.stem(x)
        levels = []
        for number, stage in enumerate(self.stages):
            if number:
                x = self.downsample[number - 1](x)
            x = stage(x)
            levels.append(self.head[number](self.stage_norms[number](x)))
        finest = levels[0].shape[2:]
        raised = [levels[0], *(functional.interpolate(level, size=finest) for level in levels[1:])]
        interleaved = torch.stack(raised, dim=2).flatten(1, 2)
        return upsample(self.classify(self.fuse(interleaved)), size, align_corners=True)
