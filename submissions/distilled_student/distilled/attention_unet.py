"""The teacher's network: nnU-Net's 2-D encoder and a decoder that attends, after CA-Net.

Encoder: Isensee et al., nnU-Net, Nature Methods 2021 (the plain one of dynamic_network_architectures).
Decoder: Gu et al., CA-Net, IEEE TMI 2021: a non-local block (Wang et al., CVPR 2018), two grid-attention
gates in parallel on a skip (Schlemper et al., Medical Image Analysis 2019), and squeeze and excitation
over average and maximum. Every part takes images of any size that the strides divide; nothing is tied
to the training's patch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from segkit.training.phantoms.trainee import initialise
from torch import Tensor, nn
from torch.nn import functional as F

from distilled.plain_blocks import ConvStack, PlainEncoder

DROPPED = 0.5
"""Share of feature maps that training drops behind the SE block of the non-local level."""

LevelKind = Literal["plain", "non_local", "gated", "open"]
"""What a level of the decoder does with its skip:

plain: concatenated, two convolutions of nnU-Net; no attention at all.
non_local: concatenated, a non-local block, an SE block.
gated: through a double attention gate, concatenated, an SE block.
open: concatenated, an SE block.
"""


class AttentionUNet2d(nn.Module):
    """A 2-D U-Net with nnU-Net's encoder and CA-Net's decoder.

    The constructor is the one nnU-Net calls with the architecture of its plans. Eight stages of 32, 64,
    128, 256 and four times 480 features are the published teacher.
    """

    def __init__(
        self,
        input_channels: int,
        num_classes: int,
        *,
        features_per_stage: Sequence[int],
        strides: Sequence[Sequence[int]],
        kernel_sizes: int | Sequence[Sequence[int]] = 3,
        n_conv_per_stage: int | Sequence[int] = 2,
        decoder_levels: Sequence[LevelKind] | None = None,
        deep_supervision: bool = False,
    ):
        """Build the network.

        Args:
            input_channels: Channels of the image.
            num_classes: Channels of the logits, the background's included.
            features_per_stage: Width of each stage of the encoder, finest first.
            strides: Stride (y, x) of each stage; the first is [1, 1].
            kernel_sizes: Kernel of the encoder's convolutions, one or one for each stage.
            n_conv_per_stage: Convolutions of each stage of the encoder.
            decoder_levels: The kind of each level of the decoder, coarsest first; `published_levels` if
                None.
            deep_supervision: Whether the output is that of every level.

        Raises:
            ValueError: The arguments do not describe a network.
        """
        super().__init__()
        stages = len(features_per_stage)
        levels = tuple(decoder_levels or published_levels(stages - 1))
        if stages < 2 or len(strides) != stages or len(levels) != stages - 1:
            raise ValueError(
                f"{stages} stages need as many strides, not {len(strides)}, and one level of the decoder "
                f"less, not {len(levels)}"
            )
        unknown = set(levels) - set(get_args(LevelKind))
        if unknown:
            raise ValueError(f"no kind of level is called {sorted(unknown)}; known: {get_args(LevelKind)}")
        self.encoder = PlainEncoder(
            input_channels,
            features=features_per_stage,
            kernels=per_stage(kernel_sizes, stages),
            strides=strides,
            convs=per_stage(n_conv_per_stage, stages),
        )
        self.decoder = AttentionDecoder(features_per_stage, strides, levels, num_classes, deep_supervision)
        self.divisor = tuple(math.prod(stride[axis] for stride in strides) for axis in range(2))

    def forward(self, image: Tensor) -> Tensor | list[Tensor]:
        """Logits of an image.

        Args:
            image: (batch, channel, y, x); y and x divisible by `divisor`.

        Returns:
            Logits (batch, class, y, x); with deep supervision those of every level, the finest first,
            each level in its own size.

        Raises:
            ValueError: The strides do not divide the image's size.
        """
        if any(size % divisor for size, divisor in zip(image.shape[2:], self.divisor, strict=True)):
            raise ValueError(
                f"an image of {tuple(image.shape[2:])} cannot be halved as often as the strides ask; "
                f"pad its sides to multiples of {self.divisor}"
            )
        return self.decoder(self.encoder(image))

    @staticmethod
    def initialize(module: nn.Module) -> None:
        """He's initialisation, for `network.apply`."""
        initialise(module)


def per_stage(value: int | Sequence[Any], stages: int) -> Sequence[Any]:
    """One value for each stage."""
    return [value] * stages if isinstance(value, int) else value


def published_levels(count: int) -> tuple[LevelKind, ...]:
    """The kinds of the decoder's levels, coarsest first, as the published teacher has them.

    The coarsest is plain, the next has the non-local block, the two finest are open, and what lies
    between has gates. A shallow network keeps the coarse end of that order.
    """
    open_levels = min(2, max(0, count - 3))
    gated = max(0, count - 2 - open_levels)
    levels: list[LevelKind] = ["plain", "non_local"]
    levels += ["gated"] * gated
    levels += ["open"] * open_levels
    return tuple(levels[:count])


class AttentionDecoder(nn.Module):
    """All levels of the decoder, each with a head.

    Attributes:
        deep_supervision: Whether `forward` returns the logits of every level. Heads of coarser levels
            exist in any case, so that weights fit both ways.
    """

    def __init__(
        self,
        features: Sequence[int],
        strides: Sequence[Sequence[int]],
        levels: Sequence[LevelKind],
        classes: int,
        deep_supervision: bool,
    ):
        super().__init__()
        self.deep_supervision = deep_supervision
        self.levels = nn.ModuleList(
            DecoderLevel(kind, below=features[stage + 1], skip=features[stage], stride=strides[stage + 1])
            for kind, stage in zip(levels, range(len(features) - 2, -1, -1), strict=True)
        )
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in reversed(features[:-1]))

    def forward(self, skips: list[Tensor]) -> Tensor | list[Tensor]:
        """Logits from the encoder's outputs, finest first."""
        features = skips[-1]
        logits = []
        for number, (level, head) in enumerate(zip(self.levels, self.heads, strict=True)):
            features = level(features, skips[-2 - number])
            if self.deep_supervision or number == len(self.levels) - 1:
                logits.append(head(features))
        return logits[::-1] if self.deep_supervision else logits[0]


class DecoderLevel(nn.Module):
    """One step up: transposed convolution, the skip, attention of the level's kind."""

    def __init__(self, kind: LevelKind, *, below: int, skip: int, stride: Sequence[int]):
        super().__init__()
        self.upsample = nn.ConvTranspose2d(below, skip, tuple(stride), tuple(stride))
        self.gate = DoubleAttentionGate(skip, below) if kind == "gated" else None
        self.non_local = NonLocalBlock(2 * skip) if kind == "non_local" else nn.Identity()
        self.block = ConvStack(2, 2 * skip, skip) if kind == "plain" else SEConvBlock(2 * skip, skip)
        # Whole feature maps are dropped where the attention is global, in training alone.
        self.dropout = nn.Dropout2d(DROPPED) if kind == "non_local" else nn.Identity()

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Features (batch, skip's channels, y, x) of this level."""
        if self.gate is not None:
            skip = self.gate(skip, below)
        return self.dropout(self.block(self.non_local(torch.cat([self.upsample(below), skip], 1))))


class NonLocalBlock(nn.Module):
    """Every position attends to every other; embedded Gaussian, a quarter of the channels inside.

    Keys and values are max-pooled by two. The last normalisation starts at zero, so that the block
    begins as the identity (Wang et al., section 4.1).
    """

    def __init__(self, channels: int):
        super().__init__()
        inner = max(1, channels // 4)
        # With ceil_mode a feature map of one pixel keeps it.
        pool = nn.MaxPool2d(2, ceil_mode=True)
        self.theta = nn.Conv2d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv2d(channels, inner, 1), pool)
        self.g = nn.Sequential(nn.Conv2d(channels, inner, 1), pool)
        self.out = nn.Sequential(nn.Conv2d(inner, channels, 1, bias=False), nn.BatchNorm2d(channels))
        nn.init.zeros_(self.out[1].weight)

    def forward(self, x: Tensor) -> Tensor:
        """The features and what was attended to, in the shape of `x`."""
        query = self.theta(x).flatten(2).transpose(1, 2)
        affinity = torch.softmax(query @ self.phi(x).flatten(2), dim=-1)
        attended = affinity @ self.g(x).flatten(2).transpose(1, 2)
        return x + self.out(attended.transpose(1, 2).reshape(x.shape[0], -1, *x.shape[2:]))


class GridAttentionGate(nn.Module):
    """Weighs each position of a skip by what the level below has found there."""

    def __init__(self, skip: int, gate: int):
        super().__init__()
        self.theta = nn.Conv2d(skip, skip, 1, bias=False)
        self.phi = nn.Conv2d(gate, skip, 1)
        self.psi = nn.Conv2d(skip, 1, 1)
        self.out = nn.Sequential(nn.Conv2d(skip, skip, 1, bias=False), nn.BatchNorm2d(skip))

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """The weighed skip, in its shape; `gate` is of any smaller size."""
        return self.out(skip * self.openness(skip, gate))

    def openness(self, skip: Tensor, gate: Tensor) -> Tensor:
        """The weight of each position, (batch, 1, y, x), between 0 and 1."""
        signal = F.interpolate(self.phi(gate), size=skip.shape[2:], mode="bilinear", align_corners=False)
        return torch.sigmoid(self.psi(F.relu(self.theta(skip) + signal)))


class DoubleAttentionGate(nn.Module):
    """Two gates beside each other, joined by a 1x1 convolution."""

    def __init__(self, skip: int, gate: int):
        super().__init__()
        self.first = GridAttentionGate(skip, gate)
        self.second = GridAttentionGate(skip, gate)
        self.combine = nn.Sequential(
            nn.Conv2d(2 * skip, skip, 1, bias=False), nn.BatchNorm2d(skip), nn.ReLU(inplace=True)
        )

    def forward(self, skip: Tensor, gate: Tensor) -> Tensor:
        """The skip through both gates, in its shape."""
        return self.combine(torch.cat([self.first(skip, gate), self.second(skip, gate)], 1))


class ChannelAttention(nn.Module):
    """Squeeze and excitation twice with the same weights: over the average and over the maximum."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        """The sum of both re-weighed maps, in the shape of `x`."""
        average, largest = self.fc(x.mean((2, 3))), self.fc(x.amax((2, 3)))
        # x * average + x * largest, with one pass over the map.
        return x * (average + largest)[:, :, None, None]


class SEConvBlock(nn.Module):
    """Three convolutions, the middle one twice as wide and re-weighed channel by channel."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        wide = 2 * channels
        self.squeeze = _conv_norm(channels_in, channels)
        self.expand = _conv_norm(channels, wide)
        self.attention = ChannelAttention(wide, max(1, channels // 2))
        self.residual = nn.Sequential(nn.Conv2d(channels_in, wide, 1, bias=False), nn.BatchNorm2d(wide))
        self.project = _conv_norm(wide, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Features (batch, channels, y, x)."""
        wide = self.attention(self.expand(F.relu(self.squeeze(x))))
        return F.relu(self.project(F.relu(wide + self.residual(x))))


def _conv_norm(channels_in: int, channels: int) -> nn.Sequential:
    """A 3x3 convolution and batch normalisation, which has the bias."""
    return nn.Sequential(nn.Conv2d(channels_in, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
