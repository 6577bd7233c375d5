"""Random changes of training patches.

Left and right are never exchanged: organs have sides, and volumes always come turned to LPS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """Probabilities and sizes; images are normalised to a standard deviation of about 1.

    Attributes:
        flip: Probability of a flip, each for front-back and head-foot.
        shift: Probability of an intensity shift.
        shift_size: Largest shift.
        affine: Probability of a rotation about z together with a change of size.
        angle: Largest rotation in radians.
        scale: Largest relative change of size, drawn for each axis.
        gain: Probability of a relative change of all intensities.
        gain_size: Largest such change.
        tissue_sd: Standard deviation of a shift of its own for each label, which keeps a network that
            learns from synthetic images from trusting their exact intensities.
        texture_sd: Largest standard deviation of smooth noise.
        noise_sd: Largest standard deviation of white noise.
    """

    flip: float = 0.1
    shift: float = 0.1
    shift_size: float = 0.1
    affine: float = 0.1
    angle: float = math.pi / 15
    scale: float = 0.1
    gain: float = 0.0
    gain_size: float = 0.1
    tissue_sd: float = 0.0
    texture_sd: float = 0.0
    noise_sd: float = 0.0

    def __call__(
        self, image: torch.Tensor, labels: torch.Tensor, random: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A changed image and its labels.

        Args:
            image: float32, (z, y, x).
            labels: Integers, (z, y, x).
            random: Draws everything.
        """

        def chance(probability: float) -> bool:
            return bool(torch.rand((), generator=random) < probability)

        def uniform(size: float) -> float:
            return float((2 * torch.rand((), generator=random) - 1) * size)

        for axis in (0, 1):
            if chance(self.flip):
                image, labels = image.flip(axis), labels.flip(axis)
        if chance(self.affine):
            scales = (1 + uniform(self.scale), 1 + uniform(self.scale), 1 + uniform(self.scale))
            image, labels = turned(image, labels, angle=uniform(self.angle), scales=scales)
        image = self._other_tissue(image, labels, random)
        if chance(self.gain):
            image = image * (1 + uniform(self.gain_size))
        if chance(self.shift):
            image = image + uniform(self.shift_size)
        return image, labels

    def _other_tissue(
        self, image: torch.Tensor, labels: torch.Tensor, random: torch.Generator
    ) -> torch.Tensor:
        """The image with labels of other intensity, coarse texture and noise."""

        def strength(size: float) -> float:
            return abs(float((2 * torch.rand((), generator=random) - 1) * size))

        if self.tissue_sd:
            count = int(labels.max()) + 1
            image = image + (self.tissue_sd * torch.randn(count, generator=random))[labels.long()]
        if self.texture_sd:
            coarse = torch.randn((1, 1, *(max(1, side // 4) for side in image.shape)), generator=random)
            texture = functional.interpolate(coarse, size=image.shape, mode="trilinear")[0, 0]
            image = image + strength(self.texture_sd) * texture
        if self.noise_sd:
            noise = torch.randn(image.shape, generator=random)
            image = image + strength(self.noise_sd) * noise
        return image


def turned(
    image: torch.Tensor, labels: torch.Tensor, *, angle: float, scales: tuple[float, float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate about z and enlarge around the centre; what comes from outside repeats the border.

    Args:
        image: float32, (z, y, x).
        labels: Integers, (z, y, x).
        angle: Radians.
        scales: For each axis (z, y, x); above 1 makes structures larger.
    """
    depth, height, width = image.shape
    along_z, along_y, along_x = scales
    cosine, sine = math.cos(angle), math.sin(angle)
    # torch's grid is in units of half the side; a rotation must be by millimetres in x and y.
    matrix = torch.tensor(
        [
            [cosine / along_x, -sine / along_x * height / width, 0, 0],
            [sine / along_y * width / height, cosine / along_y, 0, 0],
            [0, 0, 1 / along_z, 0],
        ]
    )
    grid = functional.affine_grid(matrix[None], [1, 1, depth, height, width], align_corners=False)
    moved = functional.grid_sample(image[None, None], grid, padding_mode="border", align_corners=False)
    moved_labels = functional.grid_sample(
        labels[None, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False
    )
    return moved[0, 0], moved_labels[0, 0].to(labels.dtype)
