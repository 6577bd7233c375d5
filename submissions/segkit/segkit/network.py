"""nnU-Net's U-Nets in plain torch, for volumes and for slices.

Submodules bear the names of nnU-Net v2 (PlainConvUNet and ResidualEncoderUNet of
dynamic_network_architectures), so its state dict loads as it is, less the aliases under `all_modules` and
`decoder.encoder`.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from segkit.plan import NetworkPlan, Sizes

_CONV: dict[int, type[nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
_UP: dict[int, type[nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
_NORM: dict[int, type[nn.Module]] = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
_POOL: dict[int, type[nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}


class UNet(nn.Module):
    """Encoder and decoder; one image in, logits of the same size out.

    The heads of the coarser decoder stages, which only training uses, are kept: they make up under a
    thousandth of the weights and the state dict stays whole.
    """

    def __init__(self, plan: NetworkPlan):
        super().__init__()
        self.encoder = _Encoder(plan)
        self.decoder = _Decoder(plan)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Logits (n, classes, ...) of images (n, channels, ...)."""
        return self.decoder(self.encoder(image))[0]

    def deep_logits(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Logits of every decoder stage for deep supervision, the finest first, each in its own size."""
        return self.decoder(self.encoder(image), all_stages=True)


class PlainConvUNet(UNet):
    """That of stacked convolutions."""


class _Encoder(nn.Module):
    def __init__(self, plan: NetworkPlan):
        super().__init__()
        first = plan.channels_in
        self.stem: nn.Module = nn.Identity()
        if plan.residual:
            first = plan.stem or plan.features[0]
            self.stem = _ConvStack(
                plan,
                count=1,
                channels_in=plan.channels_in,
                channels_out=first,
                kernel=plan.kernels[0],
                stride=(1,) * plan.axes,
            )
        channels = (first, *plan.features)
        stages: list[nn.Module] = []
        for number, count in enumerate(plan.convs_encoder):
            stage = (_ResidualStage if plan.residual else _ConvStack)(
                plan,
                count=count,
                channels_in=channels[number],
                channels_out=channels[number + 1],
                kernel=plan.kernels[number],
                stride=plan.strides[number],
            )
            # nnU-Net wraps stacks of convolutions, which shows in their names.
            stages.append(stage if plan.residual else nn.Sequential(stage))
        self.stages = nn.Sequential(*stages)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        image = self.stem(image)
        features = []
        for stage in self.stages:
            image = stage(image)
            features.append(image)
        return features


class _ResidualStage(nn.Module):
    def __init__(
        self,
        plan: NetworkPlan,
        *,
        count: int,
        channels_in: int,
        channels_out: int,
        kernel: Sizes,
        stride: Sizes,
    ):
        super().__init__()
        straight = (1,) * plan.axes
        self.blocks = nn.Sequential(
            *(
                _ResidualBlock(
                    plan,
                    channels_in=channels_out if number else channels_in,
                    channels_out=channels_out,
                    kernel=kernel,
                    stride=straight if number else stride,
                )
                for number in range(count)
            )
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.blocks(image)


class _ResidualBlock(nn.Module):
    """ResNet-D's basic block: the skip is pooled, then projected, where its size or channels change."""

    def __init__(
        self, plan: NetworkPlan, *, channels_in: int, channels_out: int, kernel: Sizes, stride: Sizes
    ):
        super().__init__()
        straight = (1,) * plan.axes
        self.conv1 = _Conv(
            plan, channels_in=channels_in, channels_out=channels_out, kernel=kernel, stride=stride
        )
        self.conv2 = _Conv(
            plan,
            channels_in=channels_out,
            channels_out=channels_out,
            kernel=kernel,
            stride=straight,
            leaky=False,
        )
        skip: list[nn.Module] = []
        if any(step != 1 for step in stride):
            skip.append(_POOL[plan.axes](stride, stride))
        if channels_in != channels_out:
            skip.append(
                _Conv(
                    plan,
                    channels_in=channels_in,
                    channels_out=channels_out,
                    kernel=straight,
                    stride=straight,
                    leaky=False,
                    bias=False,
                )
            )
        self.skip = nn.Sequential(*skip)
        self.leak = plan.leak

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        changed = self.conv2(self.conv1(image))
        return functional.leaky_relu(changed + self.skip(image), self.leak, inplace=True)


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
                _UP[plan.axes](plan.features[below], skip, stride, stride, bias=plan.conv_bias)
            )
            self.stages.append(
                _ConvStack(
                    plan,
                    count=count,
                    channels_in=2 * skip,
                    channels_out=skip,
                    kernel=plan.kernels[below - 1],
                    stride=(1,) * plan.axes,
                )
            )
            self.seg_layers.append(_CONV[plan.axes](skip, plan.channels_out, 1))

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
        kernel: Sizes,
        stride: Sizes,
    ):
        super().__init__()
        self.convs = nn.Sequential(
            *(
                _Conv(
                    plan,
                    channels_in=channels_out if number else channels_in,
                    channels_out=channels_out,
                    kernel=kernel,
                    stride=(1,) * plan.axes if number else stride,
                )
                for number in range(count)
            )
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.convs(image)


class _Conv(nn.Module):
    def __init__(
        self,
        plan: NetworkPlan,
        *,
        channels_in: int,
        channels_out: int,
        kernel: Sizes,
        stride: Sizes,
        leaky: bool = True,
        bias: bool | None = None,
    ):
        super().__init__()
        padding = tuple((size - 1) // 2 for size in kernel)
        self.conv = _CONV[plan.axes](
            channels_in, channels_out, kernel, stride, padding, bias=plan.conv_bias if bias is None else bias
        )
        self.norm = _NORM[plan.axes](channels_out, eps=plan.norm_eps, affine=plan.norm_affine)
        self.leak = plan.leak if leaky else None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        normed = self.norm(self.conv(image))
        return normed if self.leak is None else functional.leaky_relu(normed, self.leak, inplace=True)
