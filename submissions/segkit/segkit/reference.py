"""nnU-Net's own prediction, step by step, for comparison: exact to the voxel and slow.

What nnunetv2 2.8 does to a CT is done here in the same order and the same number formats: crop to what is
not zero, normalise, resample as the plans say (cubic splines as a rule, slice by slice where voxels are
strongly anisotropic), half-overlapping tiles weighted by a Gaussian, sums in float16, logits resampled in
float64 and kept in float16, arg-max. Labels differ from nnU-Net's only where rounding decides between two.

The source of every constant is nnunetv2 2.8.1 (inference/predict_from_raw_data.py,
preprocessing/resampling/default_resampling.py); test_nnunet_agreement.py compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from segkit.image import CT
from segkit.plan import Plan, Resampling
from segkit.predict import mirrored, normaliser
from segkit.resample import grid_shape
from segkit.torch_engine import TorchEngine
from segkit.windows import tiles

_ANISOTROPY = 3.0
_WEIGHT_AT_CENTRE = 10.0


class Reference:
    """A model run as nnU-Net runs it, on the CPU."""

    def __init__(
        self,
        plan: Plan,
        network: nn.Module,
        *,
        mirror_axes: Sequence[int] = (),
        leave_out: Sequence[int] = (),
    ):
        """Take a model.

        Args:
            plan: The model's plan, with the resampling of its training.
            network: The network.
            mirror_axes: Axes (0 is z) of test-time mirroring.
            leave_out: Labels that are never predicted; nnU-Net has no such thing.
        """
        self.plan = plan
        self.logits_of = mirrored(TorchEngine(network).logits, mirror_axes)
        self.leave_out = tuple(leave_out)

    def segment(self, ct: CT) -> np.ndarray:
        """uint8 labels of the shape of `ct.array`."""
        labels = np.zeros(ct.array.shape, dtype=np.uint8)
        array, target, spacing_mm = ct.laid_out(labels, self.plan.orientation)
        box = not_zero(array)
        if box is None:
            return labels
        image = normaliser(self.plan.intensity)(array[box])
        shape = grid_shape(image.shape, spacing_mm, self.plan.spacing_mm)
        spacings = (tuple(spacing_mm), self.plan.spacing_mm)
        image = resampled(image, shape, spacings, self.plan.image_resampling).astype(np.float32)
        logits = self._logits(image)
        shape = array[box].shape
        best = np.full(shape, -np.inf, dtype=np.float16)
        inside = target[box]
        for label, plane in enumerate(logits):
            if label in self.leave_out:
                continue
            value = resampled(plane, shape, spacings[::-1], self.plan.logits_resampling).astype(np.float16)
            inside[value > best] = label
            np.maximum(best, value, out=best)
        return labels

    def _logits(self, image: np.ndarray) -> np.ndarray:
        """float16 logits (class, z, y, x)."""
        tile = self.plan.patch
        missing = [max(0, length - size) for size, length in zip(image.shape, tile, strict=True)]
        before = [gap // 2 for gap in missing]
        padded = np.pad(image, [(low, gap - low) for low, gap in zip(before, missing, strict=True)])
        weights = _weights(tile)
        total = torch.zeros((self.plan.network.channels_out, *padded.shape), dtype=torch.half)
        weight_sum = torch.zeros(padded.shape, dtype=torch.half)
        for where in tiles(padded.shape, tile, 0.5):
            logits = torch.from_numpy(np.array(self.logits_of(padded[where]), dtype=np.float32))
            logits *= weights
            total[(slice(None), *where)] += logits
            weight_sum[where] += weights
        torch.div(total, weight_sum, out=total)
        inner = tuple(slice(low, low + size) for low, size in zip(before, image.shape, strict=True))
        return total[(slice(None), *inner)].numpy()


def resampled(
    volume: np.ndarray,
    shape: Sequence[int],
    spacings_mm: tuple[Sequence[float], Sequence[float]],
    how: Resampling,
) -> np.ndarray:
    """Resample by splines as nnU-Net does.

    Args:
        volume: Shape (z, y, x).
        shape: The size wanted (z, y, x).
        spacings_mm: The spacing it has and the one it gets; they decide whether slices stay apart.
        how: Orders of the splines.

    Returns:
        float64, or the volume itself where the size is right already.
    """
    if tuple(volume.shape) == tuple(shape):
        return volume
    volume = volume.astype(np.float64)
    axis = axis_apart(spacings_mm, how.separate_z)
    if axis is None:
        return _zoomed(volume, shape, how.order)
    planes = [
        _zoomed(plane, [size for other, size in enumerate(shape) if other != axis], how.order)
        for plane in np.moveaxis(volume, axis, 0)
    ]
    stack = np.stack(planes)
    size_in, size_out = stack.shape[0], shape[axis]
    if size_in != size_out:
        position = (np.arange(size_out) + 0.5) * (size_in / size_out) - 0.5
        if how.order_z == 0:
            stack = stack[np.clip(np.floor(position + 0.5).astype(int), 0, size_in - 1)]
        else:
            grid = np.meshgrid(position, *(np.arange(size) for size in stack.shape[1:]), indexing="ij")
            stack = ndimage.map_coordinates(stack, grid, order=how.order_z, mode="nearest")
    return np.moveaxis(stack, 0, axis)


def _zoomed(volume: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """Splines with half-pixel centres, held within the range of the values."""
    if tuple(volume.shape) == tuple(shape):
        return volume
    factors = [out / size for size, out in zip(volume.shape, shape, strict=True)]
    result = ndimage.zoom(volume, factors, order=order, mode="nearest", grid_mode=True)
    return np.clip(result, volume.min(), volume.max())


def axis_apart(spacings_mm: tuple[Sequence[float], Sequence[float]], separate_z: bool | None) -> int | None:
    """The axis along which slices are kept apart, if any."""
    if separate_z is False:
        return None
    for spacing in spacings_mm:
        if separate_z or max(spacing) / min(spacing) > _ANISOTROPY:
            coarsest = [axis for axis, size in enumerate(spacing) if size == max(spacing)]
            return coarsest[0] if len(coarsest) == 1 else None
    return None


def not_zero(array: np.ndarray) -> tuple[slice, slice, slice] | None:
    """The box of everything that is not zero; filling holes, as nnU-Net does, would not change it."""
    box = []
    for axis in range(3):
        present = np.flatnonzero(array.any(axis=tuple(other for other in range(3) if other != axis)))
        if present.size == 0:
            return None
        box.append(slice(int(present[0]), int(present[-1]) + 1))
    return box[0], box[1], box[2]


def _weights(tile: Sequence[int]) -> torch.Tensor:
    """nnU-Net's Gaussian in float16; where it underflows, its smallest value."""
    peak = np.zeros(tile)
    peak[tuple(size // 2 for size in tile)] = 1
    weights = ndimage.gaussian_filter(peak, [size / 8 for size in tile], mode="constant")
    half = torch.from_numpy(weights / (weights.max() / _WEIGHT_AT_CENTRE)).to(torch.half)
    half[half == 0] = half[half != 0].min()
    return half
