"""Small layers that both networks use. Tensors are (batch, channel, z, y, x)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


class DropPath(nn.Module):
    """Stochastic depth: leaves a residual branch out for a random part of the batch while training."""

    def __init__(self, probability: float):
        super().__init__()
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The branch scaled so that its mean is kept, or zeros."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        mask = x.new_empty((x.shape[0], 1, 1, 1, 1)).bernoulli_(keep)
        return x * mask / keep


class LayerNorm(nn.LayerNorm):
    """Layer normalisation over the channels of a volume."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise each voxel's channel vector."""
        return super().forward(x.permute(0, 2, 3, 4, 1)).permute(0, 4, 1, 2, 3)


def linear(channels_in: int, channels_out: int, *, groups: int = 1, bias: bool = True) -> nn.Conv3d:
    """A linear map of each voxel's channel vector: a 1 x 1 x 1 convolution."""
    return nn.Conv3d(channels_in, channels_out, 1, groups=groups, bias=bias)


def upsample(x: torch.Tensor, size: torch.Size | tuple[int, ...], *, align_corners: bool) -> torch.Tensor:
    """Trilinear interpolation to a size (z, y, x)."""
    return functional.interpolate(x, size=tuple(size), mode="trilinear", align_corners=align_corners)
