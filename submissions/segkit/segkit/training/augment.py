"""Augmentation that nnU-Net does not have."""

from __future__ import annotations

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform


class TissueJitter(BasicTransform):
    """Gives each label of a patch an intensity and a texture of its own.

    Keeps a network that learns from synthetic images from trusting their exact intensities: contrast
    phase, scanner and tissue change them between real scans. Works on patches of two and three axes.

    Args:
        label_sd: Standard deviation of the shift per label, in normalised intensities.
        texture_sd: Largest standard deviation of the smooth noise added to the whole patch.
    """

    def __init__(self, label_sd: float, texture_sd: float):
        super().__init__()
        self.label_sd = label_sd
        self.texture_sd = texture_sd

    def get_parameters(self, **data_dict: torch.Tensor) -> dict[str, torch.Tensor]:
        """The shift of every voxel."""
        labels = data_dict["segmentation"][:1].long().clamp(min=0)
        shifts = self.label_sd * torch.randn(int(labels.max()) + 1)
        size = labels.shape[1:]
        coarse = torch.randn(1, 1, *(max(1, length // 4) for length in size))
        mode = "trilinear" if len(size) == 3 else "bilinear"
        texture = torch.nn.functional.interpolate(coarse, size=size, mode=mode)[0]
        return {"shift": shifts[labels] + self.texture_sd * float(torch.rand(())) * texture}

    def _apply_to_image(self, img: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
        return img + shift

    def _apply_to_segmentation(self, segmentation: torch.Tensor, **_: torch.Tensor) -> torch.Tensor:
        return segmentation
