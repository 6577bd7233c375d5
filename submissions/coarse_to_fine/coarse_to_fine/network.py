"""A deep-supervised U-Net cut off at one of its coarser heads."""

from __future__ import annotations

import math

import torch
from segkit.errors import PlanError
from segkit.network import PlainConvUNet
from torch import nn
from torch.nn import functional


class TruncatedUNet(nn.Module):
    """A trained PlainConvUNet without what lies above one of its heads, whose logits are enlarged.

    Most of a U-Net's work is done on its finest grid, so a network that stops at a head of four voxels' width
    does less than half of it.
    """

    def __init__(self, network: PlainConvUNet, head: int):
        """Take the lower part of a network; its weights are shared.

        Args:
            network: The whole one.
            head: The decoder level that ends it; 0 is the finest.

        Raises:
            PlanError: The network has no such level.
        """
        super().__init__()
        steps = len(network.decoder.stages) - head
        if head < 0 or steps < 1:
            raise PlanError(
                f"the network has no head {head}; its heads are 0, the finest, to "
                f"{len(network.decoder.stages) - 1}."
            )
        self.encoder = network.encoder
        self.transpconvs = network.decoder.transpconvs[:steps]
        self.stages = network.decoder.stages[:steps]
        self.head = network.decoder.seg_layers[steps - 1]
        # What the levels that are left out would enlarge by.
        self.enlarge_by = tuple(
            float(math.prod(upsample.stride[axis] for upsample in network.decoder.transpconvs[steps:]))
            for axis in range(3)
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, z, y, x) of an image (n, channels, z, y, x), by linear interpolation."""
        features = self.encoder(image)
        here = features.pop()
        for upsample, stage in zip(self.transpconvs, self.stages, strict=True):
            here = stage(torch.cat((upsample(here), features.pop()), dim=1))
        return functional.interpolate(
            self.head(here), scale_factor=self.enlarge_by, mode="trilinear", align_corners=False
        )
