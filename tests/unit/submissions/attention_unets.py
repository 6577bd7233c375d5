"""Small networks of the teacher's kind, and images for them."""

from __future__ import annotations

import torch
from distilled.attention_unet import (
    AttentionUNet2d,
)

TINY = {
    "features_per_stage": [4, 4, 6, 8, 8, 8],
    "strides": [[1, 1], [2, 2], [2, 2], [2, 2], [2, 2], [2, 2]],
}


def tiny_network(**changes) -> AttentionUNet2d:
    torch.manual_seed(0)
    network = AttentionUNet2d(1, 2, **{**TINY, **changes})
    network.apply(network.initialize)
    return network


def images(*size: int, seed: int = 0):
    return torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(seed))
