"""Intensities drawn anew: what a noise-free phantom looks like under another tube, tissue and contrast.

Every cluster, a label and a neighbourhood of Hounsfield units, gets a mean of its own, so that fat, muscle,
bowel and bone move apart although none of them has a label (Billot et al., SynthSeg, Medical Image Analysis
2023, for labels; splitting what has no label is the larger part of the gain, arXiv 2411.06842). A drawing is
a table with a row for each label and a column for each HU, so applying it is one look-up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

LOWEST_HU, HIGHEST_HU = -1024, 3071
LABELS = 15
_COLUMNS = HIGHEST_HU - LOWEST_HU + 1
_BIN_HU = 12
_HU = np.arange(LOWEST_HU, HIGHEST_HU + 1, dtype=np.float32)
_NODES = np.arange(LOWEST_HU, HIGHEST_HU + _BIN_HU, _BIN_HU, dtype=np.float32)

# Gas and lung keep their intensity; what is between them and fat changes more and more.
_FREEDOM = np.interp(_HU, (-950, -750, -250), (0.0, 0.15, 1.0)).astype(np.float32)
_IS_FAT = np.interp(_HU, (-250, -200, -60, -20), (0.0, 1.0, 1.0, 0.0)).astype(np.float32)
_FAT_HU, _SOFT_HU = -100.0, 45.0
_LAST_ORGAN = 13


@dataclass(frozen=True)
class Randomisation:
    """Shares and sizes of what is drawn anew for each patch; see docs/submissions.md.

    Attributes:
        scrambled: Share of patches whose organs trade their intensities at random.
        synthetic: Share whose soft tissues get any intensity at all; the rest is near the physical.
        unchanged: Share whose clusters keep their intensities.
        texture_sd_hu: Largest standard deviation of the texture of a label.
        blur_voxels: Largest standard deviation of the blur.
        thick_slices: Share seen through slices of up to 7.5 mm.
        noise_sd_hu: Smallest and largest standard deviation of the noise.
        real_noise: Share with noise of real scans, where some are given; the others' is drawn.
        streaks: Share with streaks in plane.
        gain: Largest relative change of the window's width.
        shift_hu: Largest shift of the window.
        erase: Share of patches in which one organ is replaced by what may lie beside it.
        random_convolutions: Share that a small network of random weights has changed.
    """

    scrambled: float = 0.3
    synthetic: float = 0.1
    unchanged: float = 0.05
    texture_sd_hu: float = 15.0
    blur_voxels: float = 1.0
    thick_slices: float = 0.5
    noise_sd_hu: tuple[float, float] = (3.0, 45.0)
    real_noise: float = 0.3
    streaks: float = 0.2
    gain: float = 0.1
    shift_hu: float = 20.0
    erase: float = 0.05
    random_convolutions: float = 0.0


PLAIN = Randomisation(
    scrambled=0.0,
    synthetic=0.0,
    unchanged=1.0,
    texture_sd_hu=0.0,
    blur_voxels=0.6,
    thick_slices=0.0,
    noise_sd_hu=(5.0, 25.0),
    real_noise=0.0,
    streaks=0.0,
    gain=0.0,
    shift_hu=0.0,
    erase=0.0,
)
"""The scanner alone, for judging."""


def draw_table(
    random: np.random.Generator, how: Randomisation, medians_hu: Mapping[int, float]
) -> tuple[np.ndarray, int | None]:
    """Draw what each label's Hounsfield units become.

    Args:
        random: Draws everything.
        how: Shares and sizes.
        medians_hu: Of the labels that are there.

    Returns:
        Table of new HU, float32, (LABELS, HU from LOWEST_HU on); and a label that was erased, or None.
    """
    kind = random.random()
    organ_sd: np.ndarray
    background_sd: np.ndarray
    if kind < how.scrambled:
        organ_sd, own_sd, background_sd = np.full_like(_HU, 40.0), 12.0, np.full_like(_HU, 25.0)
        background_sd -= 13 * _IS_FAT
    elif kind < how.scrambled + how.synthetic:
        organ_sd, own_sd, background_sd = np.full_like(_HU, 40.0), 25.0, np.full_like(_HU, 60.0)
        background_sd -= 40 * _IS_FAT
    elif kind < how.scrambled + how.synthetic + how.unchanged:
        organ_sd, own_sd, background_sd = np.zeros_like(_HU), 0.0, np.zeros_like(_HU)
    else:
        # Bone varies as fat does relative to its size, but not to the last Hounsfield unit.
        organ_sd = 12 + 0.12 * np.abs(np.clip(_HU, -300, 900))
        own_sd, background_sd = 8.0, organ_sd
    table = np.tile(_HU, (LABELS, 1))
    table[0] += _FREEDOM * background_sd * _smooth_noise(random)
    for label in range(1, LABELS):
        moved = _HU + organ_sd * float(random.normal()) + own_sd * _smooth_noise(random)
        if how.scrambled <= kind < how.scrambled + how.synthetic and label in medians_hu:
            moved += float(random.uniform(-120, 260)) - medians_hu[label]
        table[label] += _FREEDOM * (moved - _HU)
    erased = None
    if random.random() < how.erase:
        here = [label for label in medians_hu if label <= _LAST_ORGAN]
        if here:
            erased = int(random.choice(here))
            fill = _FAT_HU if random.random() < 0.6 else _SOFT_HU
            table[erased] = fill + 8 * _smooth_noise(random)
    return table, erased


def apply_table(hu: torch.Tensor, labels: torch.Tensor, table: np.ndarray) -> torch.Tensor:
    """Look HU (int16) and labels (uint8) of one shape up in a drawn table; float32."""
    flat = torch.from_numpy(table.astype(np.float32)).to(hu.device).flatten()
    index = labels.to(torch.int32) * _COLUMNS + (hu.to(torch.int32) - LOWEST_HU)
    return flat[index.flatten()].view(hu.shape)


def add_texture(
    image: torch.Tensor, labels: torch.Tensor, largest_sd_hu: float, random: torch.Generator
) -> torch.Tensor:
    """Give each label a texture of three octaves; what is darker than -300 HU stays smooth.

    Args:
        image: HU, float32 (z, y, x).
        labels: Of the same shape, below LABELS.
        largest_sd_hu: The largest standard deviation.
        random: On the image's device.
    """
    if not largest_sd_hu:
        return image
    field = torch.zeros((), device=image.device)
    for size in (2, 4, 8):
        coarse = [max(2, -(-length // size)) for length in image.shape]
        lattice = torch.randn((1, 1, *coarse), generator=random, device=image.device)
        # Linear interpolation between nodes takes about half of the variance.
        raised = functional.interpolate(lattice, size=image.shape, mode="trilinear", align_corners=False)
        field = field + raised[0, 0] * (1.6 / 3**0.5)
    sizes = largest_sd_hu * torch.rand(LABELS, generator=random, device=image.device)
    return image + sizes[labels.long()] * field * (image > -300)


def blurred(image: torch.Tensor, sd_voxels: tuple[float, float, float]) -> torch.Tensor:
    """Blur by a Gaussian, axis by axis (z, y, x); the border repeats."""
    volume = image[None, None]
    for axis, sd in enumerate(sd_voxels):
        if sd < 0.15 or image.shape[axis] < 4:
            continue
        reach = min(max(1, round(2.5 * sd)), image.shape[axis] - 1)
        taps = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=image.device) / sd) ** 2)
        shape = [1, 1, 1, 1, 1]
        shape[2 + axis] = 2 * reach + 1
        padding = [0] * 6
        padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = reach
        volume = functional.pad(volume, padding, mode="replicate")
        volume = functional.conv3d(volume, (taps / taps.sum()).view(shape).to(volume.dtype))
    return volume[0, 0]


def through_thick_slices(image: torch.Tensor, slice_mm: float, spacing_z_mm: float) -> torch.Tensor:
    """Average over slices and interpolate back between them, as a scan of thick slices is resampled."""
    count = round(image.shape[0] * spacing_z_mm / slice_mm)
    if not 2 <= count < image.shape[0]:
        return image
    thick = functional.adaptive_avg_pool3d(image[None, None], (count, *image.shape[1:]))
    return functional.interpolate(thick, size=image.shape, mode="trilinear", align_corners=False)[0, 0]


def noise(shape: tuple[int, ...], sd_hu: float, grain_voxels: float, random: torch.Generator) -> torch.Tensor:
    """Noise with the grain of reconstructed slices, stronger towards the middle of the body; float32."""
    field = torch.randn(shape, generator=random, device=random.device)
    field = blurred(field, (0.0, grain_voxels, grain_voxels))
    y, x = (torch.linspace(-1, 1, size, device=random.device) for size in shape[1:])
    profile = 1.15 - 0.45 * (y[:, None] ** 2 + x[None] ** 2)
    # Of a hundredth of the voxels, so that a GPU need not wait for a number.
    sample = field.flatten()[:: max(1, field.numel() // 5000)]
    return field * (sd_hu / sample.std().clamp(min=1e-3)) * profile


_STEEPEST_HU = 12.0


def residual(hu: torch.Tensor) -> torch.Tensor:
    """What a real scan has beside its smooth part: noise and fine grain, where there is soft tissue.

    Args:
        hu: Hounsfield units (z, y, x) of a scan.

    Returns:
        Float32 of that shape, zero outside of soft tissue and beside its borders.
    """
    image = hu.float()
    smooth = blurred(image, (1.0, 1.5, 1.5))
    # Borders of organs and fat are no noise: where the smooth part is steep is left out.
    steep = torch.stack(torch.gradient(smooth)).norm(dim=0) > _STEEPEST_HU
    return (image - smooth) * ((smooth > -150) & (smooth < 200) & ~steep)


def patch_of_residual(grain: torch.Tensor, shape: tuple[int, ...], draw: np.random.Generator) -> torch.Tensor:
    """A piece of a residual of a size, mirrored at random, and repeated where the residual is too small."""
    for axis, size in enumerate(shape):
        if draw.random() < 0.5:
            grain = grain.flip(axis)
        start = int(draw.integers(max(1, grain.shape[axis] - size + 1)))
        taken = torch.arange(start, start + size, device=grain.device) % grain.shape[axis]
        grain = grain.index_select(axis, taken)
    return grain


_HIDDEN_CHANNELS, _RANDOM_LAYERS = 2, 4


def randomly_convolved(image: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """A normalised image after a shallow network of random weights, mixed with itself, as strong as before.

    Global intensity non-linear augmentation (Ouyang et al., IEEE TMI 2023, arXiv 2111.12525): four layers of
    random kernels of one or three voxels, so that edges stay and contrasts do not.

    Args:
        image: (z, y, x), float32.
        random: On the image's device.
    """
    mixed = image[None, None]
    for layer in range(_RANDOM_LAYERS):
        channels_in = 1 if layer == 0 else _HIDDEN_CHANNELS
        channels_out = 1 if layer == _RANDOM_LAYERS - 1 else _HIDDEN_CHANNELS
        side = 3 if float(torch.rand((), generator=random, device=image.device)) < 0.5 else 1
        kernel = torch.randn(
            (channels_out, channels_in, side, side, side), generator=random, device=image.device
        )
        shift = torch.randn(channels_out, generator=random, device=image.device)
        mixed = functional.conv3d(mixed, kernel, shift, padding=side // 2)
        if layer < _RANDOM_LAYERS - 1:
            mixed = functional.leaky_relu(mixed)
    share = torch.rand((), generator=random, device=image.device)
    changed = share * mixed[0, 0] + (1 - share) * image
    return changed * (image.norm() / changed.norm().clamp(min=1e-6))


def streaks(
    shape: tuple[int, ...], sd_hu: float, draw: np.random.Generator, random: torch.Generator
) -> torch.Tensor:
    """Parallel streaks in plane, of another pattern in each slice and of two directions; float32."""
    device = random.device
    y, x = (torch.arange(size, device=device, dtype=torch.float32) for size in shape[1:])
    total = torch.zeros(shape, device=device)
    for _ in range(2):
        angle = float(draw.uniform(0, np.pi))
        across = y[:, None] * np.sin(angle) + x[None] * np.cos(angle)
        index = (across - across.min()).round().long()
        lines = torch.randn((shape[0], shape[1] + shape[2] + 2), generator=random, device=device)
        total += lines[:, index]
    return total * (sd_hu / 2**0.5)


def _smooth_noise(random: np.random.Generator) -> np.ndarray:
    """Unit variance along the HU axis, alike within about two bins, float32."""
    nodes = random.standard_normal(len(_NODES) + 8)
    weights = np.exp(-0.5 * (np.arange(-4, 5) / 1.5) ** 2)
    nodes = np.convolve(nodes, weights / np.sqrt((weights**2).sum()), mode="valid")
    return np.interp(_HU, _NODES, nodes).astype(np.float32)
