"""From a volume of a store to a patch as the network sees it, on the device that trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from segkit.plan import Intensity
from segkit.training.phantoms import intensity
from segkit.training.phantoms.intensity import LABELS, PLAIN, Randomisation
from segkit.training.phantoms.space import STRAIGHT, Deformation, Sampling, Triple, View, cut, draw_view
from segkit.training.phantoms.store import Volume

AIR_HU = -1000.0


@dataclass(frozen=True)
class Rendering:
    """What a network is shown.

    Attributes:
        patch: Size of a patch (z, y, x).
        spacing_mm: Of its voxels (z, y, x).
        window: Clipping and normalisation.
        outputs: The network's output for each label 0 to 14.
        sampling: Which patches are looked at.
        deformation: How they are changed in space.
        randomisation: How they are changed in intensity.
    """

    patch: Triple
    spacing_mm: tuple[float, float, float]
    window: Intensity
    outputs: tuple[int, ...] = tuple(range(LABELS))
    sampling: Sampling = field(default_factory=Sampling)
    deformation: Deformation = field(default_factory=Deformation)
    randomisation: Randomisation = field(default_factory=Randomisation)


class Renderer:
    """Draws batches from volumes; the same seed and number give the same batch.

    Args:
        volumes: On the device where patches are wanted, or anywhere: parts are copied as needed.
        rendering: What the network is shown.
        device: Where batches are made.
        seed: Of everything random.
        judging: Show patches as they are, with a scanner's noise alone.
        noise_from: Real scans whose noise is shown in some patches.
    """

    def __init__(
        self,
        volumes: Sequence[Volume],
        rendering: Rendering,
        *,
        device: torch.device,
        seed: int,
        judging: bool = False,
        noise_from: Sequence[Volume] = (),
    ):
        self.volumes = volumes
        self.rendering = rendering
        self.device = device
        self.seed = seed
        self.deformation = STRAIGHT if judging else rendering.deformation
        self.randomisation = PLAIN if judging else rendering.randomisation
        self.grains = [intensity.residual(volume.hu.to(device)).to(torch.float16) for volume in noise_from]
        self.outputs = torch.tensor(rendering.outputs, dtype=torch.uint8, device=device)

    def batch(self, number: int, size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Images (size, 1, z, y, x), float32, and outputs (size, z, y, x), int64, of a step."""
        samples = [self.sample(number * size + place) for place in range(size)]
        images, labels = zip(*samples, strict=True)
        return torch.stack(images)[:, None], torch.stack(labels).long()

    def sample(self, number: int) -> tuple[torch.Tensor, torch.Tensor]:
        """One image (z, y, x), normalised, and its outputs, uint8."""
        draw = np.random.default_rng([self.seed, number])
        random = torch.Generator(self.device).manual_seed(int(draw.integers(2**62)))
        volume = self.volumes[int(draw.integers(len(self.volumes)))]
        told = self.rendering
        view = draw_view(draw, volume, told.patch, told.spacing_mm, told.sampling, self.deformation)
        box, grid, outside_z = cut(volume, told.patch, view, self.deformation, random, draw)
        hu = volume.hu[box].to(self.device)
        labels = volume.labels[box].to(self.device)
        erased = None
        if volume.kind == "phantom":
            table, erased = intensity.draw_table(draw, self.randomisation, volume.medians_hu)
            source = intensity.apply_table(hu, labels, table)
        else:
            source = hu.float()
        image, seen = _sampled(source, labels, grid)
        image = self._scanned(image, seen, view, volume.kind == "phantom", draw, random)
        window = told.window
        image = (image.clamp(window.clip_low_hu, window.clip_high_hu) - window.mean_hu) / max(
            window.std_hu, 1e-8
        )
        if volume.kind == "phantom" and draw.random() < self.randomisation.random_convolutions:
            image = intensity.randomly_convolved(image, random)
        # Where nothing was scanned inference pads with zeros, the mean.
        image, seen = self._cut_off(image, seen, view, outside_z)
        outputs = self.outputs
        if erased is not None:
            outputs = outputs.clone()
            outputs[erased] = 0
        return image, outputs[seen.long()]

    def _scanned(
        self,
        image: torch.Tensor,
        seen: torch.Tensor,
        view: View,
        is_phantom: bool,
        draw: np.random.Generator,
        random: torch.Generator,
    ) -> torch.Tensor:
        how = self.randomisation
        if is_phantom:
            image = intensity.add_texture(image, seen, how.texture_sd_hu, random)
            blur = float(draw.uniform(0, how.blur_voxels))
            image = intensity.blurred(image, (0.7 * blur, blur, blur))
        if draw.random() < how.thick_slices:
            image = intensity.through_thick_slices(
                image, float(draw.uniform(1, 7.5)), float(view.spacing_mm[0])
            )
        if is_phantom or draw.random() < 0.3:
            low, high = np.log(how.noise_sd_hu) if is_phantom else np.log((2.0, 15.0))
            size, grain = float(np.exp(draw.uniform(low, high))), float(draw.uniform(0, 0.9))
            if is_phantom and self.grains and draw.random() < how.real_noise:
                image = image + self._real_noise(tuple(image.shape), draw)
            else:
                image = image + intensity.noise(tuple(image.shape), size, grain, random)
        if is_phantom and draw.random() < how.streaks:
            image = image + intensity.streaks(tuple(image.shape), float(draw.uniform(2, 20)), draw, random)
        gain = 1 + how.gain * float(draw.uniform(-1, 1))
        return image * gain + how.shift_hu * float(draw.uniform(-1, 1))

    def _real_noise(self, shape: tuple[int, ...], draw: np.random.Generator) -> torch.Tensor:
        grain = self.grains[int(draw.integers(len(self.grains)))].float()
        return float(draw.uniform(0.5, 2.0)) * intensity.patch_of_residual(grain, shape, draw)

    def _cut_off(
        self, image: torch.Tensor, seen: torch.Tensor, view: View, outside_z: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        missing = outside_z > 0
        if view.slab_mm is not None:
            size = image.shape[0]
            height = (torch.arange(size, device=self.device) - (size - 1) / 2) * float(view.spacing_mm[0])
            missing = missing | (height.abs() > view.slab_mm)[:, None, None]
        return image.masked_fill(missing, 0.0), seen.masked_fill(missing, 0)


def _sampled(
    source: torch.Tensor, labels: torch.Tensor, grid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    # Air lies beside the body; shifting it to zero makes grid_sample's own padding air.
    image = functional.grid_sample((source - AIR_HU)[None, None], grid, align_corners=False)[0, 0] + AIR_HU
    seen = functional.grid_sample(labels[None, None].float(), grid, mode="nearest", align_corners=False)[0, 0]
    return image, seen.to(torch.uint8)


def rendering_of(content: Mapping[str, Any], outputs: Sequence[int]) -> Rendering:
    """The rendering of a recipe's entries.

    Args:
        content: "patch", "spacing_mm" and "window", and where wanted "sampling", "deformation" and
            "randomisation" with some of their fields.
        outputs: The network's output for each label 0 to 14.

    Raises:
        TypeError: An entry is missing or unknown.
    """

    def fields(name: str) -> dict[str, Any]:
        return {key: _tuples(value) for key, value in dict(content.get(name, {})).items()}

    return Rendering(
        patch=_tuples(content["patch"]),
        spacing_mm=_tuples(content["spacing_mm"]),
        window=Intensity(**dict(content["window"])),
        outputs=tuple(outputs),
        sampling=Sampling(**fields("sampling")),
        deformation=Deformation(**fields("deformation")),
        randomisation=Randomisation(**fields("randomisation")),
    )


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
