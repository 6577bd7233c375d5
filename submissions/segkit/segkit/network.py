"""nnU-Net's plain convolutional U-Net in plain torch.

Submodules bear the names of nnU-Net v2 (PlainConvUNet of dynamic_network_architectures), so its
state dict loads as it is, less the aliases under `all_modules` and `decoder.encoder`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from segkit.plan import NetworkPlan, Triple


class PlainConvUNet(nn.Module):
    """Encoder and decoder of stacked convolutions; one image in, logits of the same size out.

    The heads of the coarser decoder stages, which only training uses, are kept: they make up under a
    thousandth of the weights and the state dict stays whole.
    """

    def __init__(self, plan: NetworkPlan):
        super().__init__()
        self.encoder = _Encoder(plan)
        self.decoder = _Decoder(plan)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, z, y, x) of an image (n, channels, z, y, x)."""
        return self.decoder(self.encoder(image))[0]

    def deep_logits(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits of every decoder stage for deep supervision, the finest first, each in its own size."""
        return self.decoder(self.encoder(image), all_stages=True)


class _Encoder(nn.Module):
    def __init__(self, plan: NetworkPlan):
        super().__init__()
        channels = (plan.channels_in, *plan.features)
        self.stages = nn.Sequential(
            *(
                nn.Sequential(
                    _ConvStack(
                        plan,
                        count=plan.convs_encoder[stage],
                        channels_in=channels[stage],
                        channels_out=channels[stage + 1],
                        kernel=plan.kernels[stage],
                        stride=plan.strides[stage],
                    )
                )
                for stage in range(len(plan.features))
            )
        )

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features


class _Decoder(nn.Module):
    def __init__(self, plan: NetworkPlan):
        super().__init__()
        self.stages = nn.ModuleList()
        self.transpconvs = nn.ModuleList()
        self.seg_layers = nn.ModuleList()
        for step, count in enumerate(plan.convs_decoder):
            below = len(plan.features) - 1 - step
            skip = plan.features[below - 1]
            stride = plan.strides[below]
            self.transpconvs.append(
                nn.ConvTranspose3d(plan.features[below], skip, stride, stride, bias=plan.conv_bias)
            )
            self.stages.append(
                _ConvStack(
                    plan,
                    count=count,
                    channels_in=2 * skip,
                    channels_out=skip,
                    kernel=plan.kernels[below - 1],
                    stride=(1, 1, 1),
                )
            )
            self.seg_layers.append(nn.Conv3d(skip, plan.channels_out, 1))

    def forward(self, features: list[torch.Tensor], all_stages: bool = False) -> list[torch.Tensor]:
        # Popping lets each skip be freed as soon as it is used: they are most of the peak memory.
        image = features.pop()
        logits = []
        last = len(self.stages) - 1
        steps = zip(self.transpconvs, self.stages, self.seg_layers, strict=True)
        for number, (upsample, stage, head) in enumerate(steps):
            image = stage(torch.cat((upsample(image), features.pop()), dim=1))
            if all_stages or number == last:
                logits.append(head(image))
        return logits[::-1]


class _ConvStack(nn.Module):
    def __init__(
        self,
        plan: NetworkPlan,
        *,
        count: int,
        channels_in: int,
        channels_out: int,
        kernel: Triple,
        stride: Triple,
    ):
        super().__init__()
        self.convs = nn.Sequential(
            *(
                _Conv(
                    plan,
                    channels_in=channels_out if number else channels_in,
                    channels_out=channels_out,
                    kernel=kernel,
                    stride=(1, 1, 1) if number else stride,
                )
                for number in range(count)
            )
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convs(image)


class _Conv(nn.Module):
    def __init__(
        self, plan: NetworkPlan, *, channels_in: int, channels_out: int, kernel: Triple, stride: Triple
    ):
        super().__init__()
        padding = tuple((size - 1) // 2 for size in kernel)
        self.conv = nn.Conv3d(channels_in, channels_out, kernel, stride, padding, bias=plan.conv_bias)
        self.norm = nn.InstanceNorm3d(channels_out, eps=plan.norm_eps, affine=plan.norm_affine)
        self.leak = plan.leak

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return functional.leaky_relu(self.norm(self.conv(image)), self.leak, inplace=True)
