"""From Hounsfield units to what the networks see; the same code for training and inference."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from segkit.plan import Intensity
from segkit.predict import normaliser
from segkit.resample import Shape, resample_image

_LOW_PERCENTILE, _HIGH_PERCENTILE = 5.0, 95.0
_SAMPLE_VOXELS = 4_000_000


@dataclass(frozen=True)
class Scaling:
    """How the intensities of one CT are scaled.

    Attributes:
        of_slice: Applied to slices (y, x) before resampling; returns float32.
        by_volume: Whether the resampled volume is then brought to mean 0 and standard deviation 1.
    """

    of_slice: Callable[[np.ndarray], np.ndarray]
    by_volume: bool


def scaling_for(array: np.ndarray, window: Intensity | None) -> Scaling:
    """The scaling of a CT: the plan's window, or the range between percentiles of this CT.

    The percentiles are taken over the whole CT, air included, from every n-th voxel so that some four
    million are looked at whatever its size.

    Args:
        array: The whole CT in Hounsfield units, shape (z, y, x).
        window: The plan's window, if it has one.
    """
    if window is not None:
        return Scaling(normaliser(window), by_volume=False)
    stride = max(1, int(np.ceil((array.size / _SAMPLE_VOXELS) ** (1 / 3))))
    steps = tuple(stride if size > 8 * stride else 1 for size in array.shape)
    sample = array[:: steps[0], :: steps[1], :: steps[2]]
    low, high = np.percentile(sample, (_LOW_PERCENTILE, _HIGH_PERCENTILE))
    width = np.float32(max(high - low, 1.0))

    def between_percentiles(plane: np.ndarray) -> np.ndarray:
        scaled = (plane.astype(np.float32) - np.float32(low)) / width
        return np.clip(scaled, 0.0, 1.0, out=scaled)

    return Scaling(between_percentiles, by_volume=True)


def network_image(array: np.ndarray, shape: Shape, scaling: Scaling) -> np.ndarray:
    """A part of a CT on a network's grid.

    Mean and standard deviation are those of the voxels above the range's lower end, so that air does not
    count, and are applied everywhere.

    Args:
        array: Hounsfield units, shape (z, y, x).
        shape: The size wanted (z, y, x).
        scaling: From the whole CT.

    Returns:
        float32 array of the wanted size.
    """
    volume = resample_image(array, shape, scaling.of_slice)
    if scaling.by_volume:
        above = volume[volume > 0]
        if above.size:
            volume -= above.mean()
            volume /= max(float(above.std()), 1e-3)
    return volume
