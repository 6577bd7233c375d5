"""Pack a case into a page: the image in 8 bits as one tiled JPEG, labels as run lengths.

The page must open from disk on a phone, so a case is cropped to what was labelled and thinned until it fits a
budget of bytes. Whoever unpacks it is `templates/case.js`.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import imagecodecs
import numpy as np

from harness.report.volumes import Box, CaseVolumes, Labels, Spacing, Volume

MOST_BYTES = 2_900_000
"""A packed case in a page; its markup and script take the rest of 3 MB."""
_IMAGE_SHARE = 0.7
_MOST_VOXELS = 9_000_000
_TILES_ACROSS_PX = 4096
_QUALITIES = (72, 58, 42, 28)
_MARGIN_MM = 30.0
_HU_KNOTS = (-1024.0, -200.0, 300.0, 1500.0)
_LEVEL_KNOTS = (0.0, 48.0, 208.0, 255.0)
"""Most of the 256 levels go to soft tissue, 3 HU each; lung and bone share the rest."""


@dataclass(frozen=True, eq=False)
class PackedCase:
    """A case as the page holds it.

    Attributes:
        shape: Voxels to the patient's left, to the back and up: columns, rows and slices of the page.
        spacing_mm: Their sizes.
        step: Of how many voxels of the original one is kept, along each axis.
        image: The tiled JPEG, base64.
        across: Tiles in a row of it.
        knots: What the levels stand for: intensities at the levels of `_LEVEL_KNOTS`, or at 0 and 255.
        is_hu: Whether intensities are Hounsfield units.
        reference: The reference's labels, packed.
        predictions: Those of each row, packed against the reference.
        left_out: How many predictions had no room.
    """

    shape: tuple[int, int, int]
    spacing_mm: Spacing
    step: tuple[int, int, int]
    image: str
    across: int
    knots: tuple[tuple[float, float], ...]
    is_hu: bool
    reference: str
    predictions: Mapping[int, str]
    left_out: int


def pack_case(case: CaseVolumes, predictions: Mapping[int, Labels], labelled: Box) -> PackedCase:
    """Pack a case; of the predictions, in their order, as many as fit.

    Args:
        case: Image and reference.
        predictions: Labels by row, on the reference's grid.
        labelled: What holds every label of them all.
    """
    crop = _crop(case, labelled)
    step = _thinned([part.stop - part.start for part in crop], case.spacing_mm)
    while True:
        image = _image(case.image[crop], step)
        encoded = _fitting(image.tiles)
        if encoded is not None:
            break
        step = _coarser(step, case.spacing_mm)
    reference = _sampled(case.reference[crop], step)
    packed_reference = _runs(reference)
    room = MOST_BYTES - len(encoded) - len(packed_reference)
    packed: dict[int, str] = {}
    for row, labels in predictions.items():
        runs = _runs(_sampled(labels[crop], step) ^ reference)
        if len(runs) <= room:
            packed[row] = runs
            room -= len(runs)
    x, y, z = reference.shape
    sizes = [size * factor for size, factor in zip(case.spacing_mm, step, strict=True)]
    return PackedCase(
        shape=(x, y, z),
        spacing_mm=(sizes[0], sizes[1], sizes[2]),
        step=step,
        image=encoded,
        across=image.across,
        knots=image.knots,
        is_hu=image.is_hu,
        reference=packed_reference,
        predictions=packed,
        left_out=len(predictions) - len(packed),
    )


@dataclass(frozen=True, eq=False)
class _Image:
    """A tiled image, uint8 (rows, columns), and what its levels mean."""

    tiles: Volume
    across: int
    knots: tuple[tuple[float, float], ...]
    is_hu: bool


def _crop(case: CaseVolumes, labelled: Box) -> Box:
    """Return the box of all labels with a margin; across the body it is the body's own."""
    body = case.image[::2, ::2, ::2] > (-400 if _is_hu(case.image) else np.median(case.image[::4, ::4, ::4]))
    bounds = []
    for axis, held in enumerate(labelled):
        around = 2 * np.flatnonzero(body.any(axis=tuple(other for other in range(3) if other != axis)))
        margin = int(_MARGIN_MM / case.spacing_mm[axis])
        low, high = held.start - margin, held.stop + margin
        if axis < 2 and len(around):
            low, high = min(held.start, int(around[0])), max(held.stop, int(around[-1]) + 2)
        bounds.append(slice(max(0, low), min(case.image.shape[axis], high)))
    return bounds[0], bounds[1], bounds[2]


def _is_hu(image: Volume) -> bool:
    """Whether intensities look like Hounsfield units: air lies far below water."""
    return bool(np.min(image[::4, ::4, ::2]) < -500)


def _thinned(shape: Sequence[int], spacing_mm: Spacing) -> tuple[int, int, int]:
    step = (1, 1, 1)
    while np.prod([-(-size // factor) for size, factor in zip(shape, step, strict=True)]) > _MOST_VOXELS:
        step = _coarser(step, spacing_mm)
    return step


def _coarser(step: tuple[int, int, int], spacing_mm: Spacing) -> tuple[int, int, int]:
    """Thin along the axis that is the finest now."""
    sizes = [size * factor for size, factor in zip(spacing_mm, step, strict=True)]
    finest = int(np.argmin(sizes))
    x, y, z = (factor + (axis == finest) for axis, factor in enumerate(step))
    return x, y, z


def _sampled(labels: Labels, step: tuple[int, int, int]) -> Labels:
    """Return every n-th voxel, axes to the patient's left, to the back and up."""
    x, y, z = step
    kept: Labels = np.flip(labels[x // 2 :: x, y // 2 :: y, z // 2 :: z], axis=(0, 1))
    return kept


def _image(values: Volume, step: tuple[int, int, int]) -> _Image:
    """Return the levels of the image, its axial slices side by side."""
    is_hu = _is_hu(values)
    thin = _means(values, step)
    if is_hu:
        knots = tuple(zip(_LEVEL_KNOTS, _HU_KNOTS, strict=True))
    else:
        low, high = (float(value) for value in np.percentile(thin[::2, ::2, ::2], [0.5, 99.5]))
        knots = ((0.0, low), (255.0, high if high > low else low + 1.0))
    levels, intensities = zip(*knots, strict=True)
    grey = np.interp(thin, intensities, levels).astype(np.uint8)
    grey = np.flip(grey, axis=(0, 1))
    width, height, depth = grey.shape
    across = max(1, min(depth, _TILES_ACROSS_PX // width))
    rows = -(-depth // across)
    tiles = np.zeros((rows * height, across * width), dtype=np.uint8)
    for z in range(depth):
        top, left = z // across * height, z % across * width
        tiles[top : top + height, left : left + width] = grey[:, :, z].T
    return _Image(tiles, across, knots, is_hu)


def _means(values: Volume, step: tuple[int, int, int]) -> Volume:
    """Return the mean of each block's voxels next to its middle: less noise than one voxel, and cheap."""
    x, y, z = step
    middle = values[x // 2 :: x, y // 2 :: y, z // 2 :: z].astype(np.float32)
    if x == y == 1:
        return middle
    first = values[::x, ::y, z // 2 :: z].astype(np.float32)[tuple(slice(size) for size in middle.shape)]
    mean: Volume = (middle + first) / 2
    return mean


def _fitting(tiles: Volume) -> str | None:
    """Return the image as JPEG in base64, at the best quality that fits; None if none does."""
    for quality in _QUALITIES:
        encoded = imagecodecs.jpeg8_encode(tiles, level=quality)
        if len(encoded) * 4 / 3 <= MOST_BYTES * _IMAGE_SHARE:
            return base64.b64encode(encoded).decode()
    return None


def _runs(labels: Labels) -> str:
    """Return labels as run lengths (uint32, little endian) followed by their values, deflated, base64."""
    flat = labels.ravel(order="F")
    starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    lengths = np.diff(np.concatenate([starts, [flat.size]])).astype("<u4")
    content = lengths.tobytes() + flat[starts].astype(np.uint8).tobytes()
    return base64.b64encode(zlib.compress(content, 6)).decode()
