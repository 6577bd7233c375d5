"""nnU-Net's plain 2-D encoder in plain torch; weights bear the names that nnU-Net v2 gives them."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class ConvStack(nn.Module):
    """Convolutions, each with instance normalisation and a leaky ReLU; the first has the stride."""

    def __init__(
        self,
        count: int,
        channels_in: int,
        channels: int,
        kernel: int | Sequence[int] = 3,
        stride: Sequence[int] = (1, 1),
    ):
        super().__init__()
        self.convs = nn.Sequential(
            *(
                _Conv(channels if number else channels_in, channels, kernel, (1, 1) if number else stride)
                for number in range(count)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, channels, y, x)."""
        return self.convs(x)


class PlainEncoder(nn.Module):
    """Stacks of convolutions, one a stage.

    Args:
        channels_in: Channels of the image.
        features: Width of each stage, finest first.
        kernels: Kernel of each stage.
        strides: Stride of each stage.
        convs: Convolutions of each stage.
    """

    def __init__(
        self,
        channels_in: int,
        *,
        features: Sequence[int],
        kernels: Sequence[int | Sequence[int]],
        strides: Sequence[Sequence[int]],
        convs: Sequence[int],
    ):
        super().__init__()
        widths = [channels_in, *features]
        self.stages = nn.Sequential(
            *(
                nn.Sequential(ConvStack(convs[n], widths[n], widths[n + 1], kernels[n], strides[n]))
                for n in range(len(features))
            )
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """The output of every stage, finest first."""
        skips = []
        for stage in self.stages:
            x = stage(x)
            skips.append(x)
        return skips


class _Conv(nn.Module):
    def __init__(self, channels_in: int, channels: int, kernel: int | Sequence[int], stride: Sequence[int]):
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else tuple(kernel)
        padding = tuple((side - 1) // 2 for side in sides)
        self.conv = nn.Conv2d(channels_in, channels, sides, tuple(stride), padding)
        self.norm = nn.InstanceNorm2d(channels, eps=1e-5, affine=True)
        self.nonlin = nn.LeakyReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.nonlin(self.norm(self.conv(x)))
