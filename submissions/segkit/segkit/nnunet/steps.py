"""nnU-Net's preprocessing of one case, and its resampling of label maps.

The order is nnU-Net's: transpose, crop to what is not zero, normalise, resample. The source of every choice
is nnunetv2 2.8.1 (preprocessing/preprocessors/default_preprocessor.py, cropping, normalization, resampling).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from segkit.image import CT
from segkit.nnunet.bundle import Configuration, Normalisation
from segkit.plan import Resampling
from segkit.predict import normaliser
from segkit.reference import axis_apart, not_zero, resampled
from segkit.resample import Shape, grid_shape, resample_image
from segkit.windows import Box

_LEAST = 1e-8
OUTSIDE = -1
"""Stands for what is zero in every channel, in the labels that a later stage sees."""


@dataclass(frozen=True)
class Case:
    """The channels of a case, turned as the bundle's networks saw them in training.

    Attributes:
        channels: Arrays of one shape (z, y, x), views.
        spacing_mm: Of those axes.
        box: What is not zero in any channel, or what is worth looking at of it.
    """

    channels: tuple[np.ndarray, ...]
    spacing_mm: tuple[float, float, float]
    box: Box

    @property
    def shape(self) -> Shape:
        """The size of the whole volume."""
        first, second, third = self.channels[0].shape
        return (first, second, third)

    def nonzero(self) -> np.ndarray:
        """Where a channel is not zero, holes filled, inside the box."""
        mask = np.zeros([part.stop - part.start for part in self.box], dtype=bool)
        for channel in self.channels:
            mask |= channel[self.box] != 0
        return np.asarray(ndimage.binary_fill_holes(mask))


def laid_out(
    ct: CT, labels: np.ndarray, orientation: str
) -> tuple[list[np.ndarray], np.ndarray, tuple[float, float, float]]:
    """Channels and labels as the networks saw them in training, as views, and the spacing of their axes."""
    if orientation == "ras":
        # Ours is LPS: x and y run the other way.
        views = [array[:, ::-1, ::-1] for array in (ct.array, *ct.more_channels)]
        return views, labels[:, ::-1, ::-1], ct.spacing_mm
    if orientation == "canonical":
        return [ct.array, *ct.more_channels], labels, ct.spacing_mm
    _, target, spacing_mm = ct.laid_out(labels, "stored")
    stored = ct.orientation.to_stored
    return [stored(array) for array in (ct.array, *ct.more_channels)], target, spacing_mm


def box_of(channels: Sequence[np.ndarray]) -> Box | None:
    """The box of everything that is not zero in any channel; None where all is."""
    boxes = [box for channel in channels if (box := not_zero(channel)) is not None]
    if not boxes:
        return None
    first, second, third = (
        slice(min(box[axis].start for box in boxes), max(box[axis].stop for box in boxes))
        for axis in range(3)
    )
    return (first, second, third)


def network_grid(
    case: Case, configuration: Configuration
) -> tuple[Shape, tuple[float, float, float], tuple[float, float, float]]:
    """The network's grid for a case, with the spacing that the box has and that it gets, transposed."""
    order = configuration.transpose
    have = tuple(case.spacing_mm[axis] for axis in order)
    sizes = tuple(case.box[axis].stop - case.box[axis].start for axis in order)
    # A network of slices leaves the distance between them as it is.
    want = (have[0],) * (3 - len(configuration.spacing_mm)) + configuration.spacing_mm
    have3, want3, size3 = (
        (have[0], have[1], have[2]),
        (want[0], want[1], want[2]),
        (sizes[0], sizes[1], sizes[2]),
    )
    return grid_shape(size3, have3, want3), have3, want3


def network_image(case: Case, configuration: Configuration, *, linear: bool, shape: Shape) -> np.ndarray:
    """The channels of a case on the network's grid, float32 (channel, z, y, x), axes transposed.

    Args:
        case: The case.
        configuration: The network's.
        linear: Resample linearly along all axes instead of as the network was trained.
        shape: The grid.
    """
    _, have, want = network_grid(case, configuration)
    image = np.empty((len(case.channels), *shape), dtype=np.float32)
    masked = any(each.masked and each.scheme == "zscore" for each in configuration.normalisation)
    mask = case.nonzero() if masked else None
    for number, (channel, how) in enumerate(zip(case.channels, configuration.normalisation, strict=True)):
        inside = channel[case.box].transpose(configuration.transpose)
        if linear and how.scheme == "ct" and how.intensity is not None:
            image[number] = resample_image(inside, shape, normaliser(how.intensity))
            continue
        prepared = normalised(inside, how, None if mask is None else mask.transpose(configuration.transpose))
        if linear:
            image[number] = resample_image(prepared, shape)
        else:
            image[number] = resampled(prepared, shape, (have, want), configuration.image_resampling)
    return image


def normalised(image: np.ndarray, how: Normalisation, mask: np.ndarray | None) -> np.ndarray:
    """A channel with nnU-Net's normalisation, float32.

    Args:
        image: Stored numbers, any shape.
        how: What is done.
        mask: What is not zero, for z-scores that see no more.
    """
    if how.scheme == "ct" and how.intensity is not None:
        return normaliser(how.intensity)(image)
    numbers = image.astype(np.float32)
    if how.scheme == "zscore":
        seen = numbers[mask] if how.masked and mask is not None else numbers
        scored = (seen - seen.mean()) / max(seen.std(), _LEAST)
        if how.masked and mask is not None:
            numbers[mask] = scored
            return numbers
        return scored
    if how.scheme == "rescale01":
        numbers -= numbers.min()
        numbers /= max(float(numbers.max()), _LEAST)
    elif how.scheme == "rgb01":
        numbers /= np.float32(255)
    return numbers


def previous_labels(
    case: Case, labels: np.ndarray, configuration: Configuration, values: Sequence[int], shape: Shape
) -> np.ndarray:
    """The labels of the stage before as channels of the next: one for each value, float32 (value, z, y, x).

    Args:
        case: The case.
        labels: uint8 (z, y, x), of the whole volume, laid out like the case's channels.
        configuration: The next network's.
        values: Label values.
        shape: Its grid.
    """
    _, have, want = network_grid(case, configuration)
    inside = labels[case.box].astype(np.int16)
    inside[(inside == 0) & ~case.nonzero()] = OUTSIDE
    small = resampled_labels(
        inside.transpose(configuration.transpose), shape, (have, want), configuration.labels_resampling
    )
    return np.stack([small == value for value in values]).astype(np.float32)


def resampled_labels(
    labels: np.ndarray,
    shape: Sequence[int],
    spacings_mm: tuple[Sequence[float], Sequence[float]],
    how: Resampling,
) -> np.ndarray:
    """A label map resampled as nnU-Net does: each label's indicator, and the largest wins.

    Where two are equally large the nearest voxel's label decides.

    Args:
        labels: Whole numbers (z, y, x).
        shape: The size wanted.
        spacings_mm: The spacing it has and gets; they decide whether slices stay apart.
        how: Orders of the splines.
    """
    if tuple(labels.shape) == tuple(shape):
        return labels
    axis = axis_apart(spacings_mm, how.separate_z)
    if axis is None:
        return _by_indicators(labels, shape, lambda volume, order: zoomed(volume, shape, order), how.order)
    stack = np.moveaxis(labels, axis, 0)
    plane = [size for number, size in enumerate(shape) if number != axis]
    slices = [
        _by_indicators(one, plane, lambda image, order: zoomed(image, plane, order), how.order)
        for one in stack
    ]
    position = (np.arange(shape[axis]) + 0.5) * (len(slices) / shape[axis]) - 0.5
    nearest = np.clip(np.floor(position + 0.5).astype(int), 0, len(slices) - 1)
    return np.moveaxis(np.stack(slices)[nearest], 0, axis)


def zoomed(volume: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """A spline of an indicator, float64, with half-pixel centres."""
    factors = [out / size for size, out in zip(volume.shape, shape, strict=True)]
    return np.asarray(
        ndimage.zoom(volume.astype(float), factors, order=order, mode="nearest", grid_mode=True)
    )


def _by_indicators(
    labels: np.ndarray, shape: Sequence[int], enlarged: Callable[[np.ndarray, int], np.ndarray], order: int
) -> np.ndarray:
    if tuple(labels.shape) == tuple(shape):
        return labels
    best = np.full(shape, -np.inf)
    winner = np.zeros(shape, dtype=labels.dtype)
    nearest = enlarged(labels, 0).astype(labels.dtype)
    for value in np.unique(labels):
        score = enlarged(labels == value, order)
        better = (score > best) | ((score == best) & (nearest == value))
        winner[better] = value
        np.maximum(best, score, out=best)
    return winner
