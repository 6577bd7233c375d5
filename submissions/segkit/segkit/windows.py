"""The sliding window: where tiles lie, how they are weighted, and their sum."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import numpy as np

Shape = tuple[int, int, int]


def tile_starts(size: int, tile: int, step: float) -> list[int]:
    """Starts of the tiles along one axis, evenly spread, no further apart than `step` tiles.

    Args:
        size: Size of the volume, at least `tile`.
        tile: Size of a tile.
        step: Largest distance of neighbours as a fraction of the tile, in (0, 1].
    """
    count = int(np.ceil((size - tile) / (tile * step))) + 1
    if count == 1:
        return [0]
    distance = (size - tile) / (count - 1)
    return [int(np.round(distance * number)) for number in range(count)]


def tiles(shape: Shape, tile: Shape, step: float) -> Iterator[tuple[slice, slice, slice]]:
    """The tiles of a volume, z slowest."""
    starts = [tile_starts(size, length, step) for size, length in zip(shape, tile, strict=True)]
    for corner in itertools.product(*starts):
        first, second, third = (
            slice(start, start + length) for start, length in zip(corner, tile, strict=True)
        )
        yield first, second, third


def gaussian_weights(tile: Shape) -> np.ndarray:
    """Weights that fall off from the centre of a tile, standard deviation an eighth of its size.

    The centre weighs 1. Nowhere is the weight zero, so every voxel that a tile covers has a value.
    """
    weights = np.ones(tile)
    for axis, size in enumerate(tile):
        distance = np.arange(size) - size // 2
        profile = np.exp(-0.5 * (distance / (size / 8)) ** 2)
        weights *= profile.reshape([-1 if other == axis else 1 for other in range(3)])
    return weights.astype(np.float32)


def run_tiles(
    volume: np.ndarray,
    *,
    classes: int,
    tile: Shape,
    step: float,
    logits_of: Callable[[np.ndarray], np.ndarray],
    worth_looking: Callable[[tuple[slice, slice, slice]], bool],
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Run a network over a volume in overlapping tiles.

    A volume smaller than a tile is padded evenly with zeros, the mean intensity after normalisation.

    Args:
        volume: float32, shape (z, y, x), normalised.
        classes: Number of output channels.
        tile: Size of a tile (z, y, x).
        step: Largest distance of neighbours as a fraction of the tile.
        logits_of: Logits (class, z, y, x), float32, of one tile (z, y, x).
        worth_looking: Whether a tile, given as slices of `volume`, may hold foreground.
        on_tile: Told after each tile how many are done and how many there are.

    Returns:
        float32 logits, shape (class, z, y, x). Where no tile was run they are zero for all classes,
        which counts as background.
    """
    missing = [max(0, length - size) for size, length in zip(volume.shape, tile, strict=True)]
    before = [gap // 2 for gap in missing]
    if any(missing):
        volume = np.pad(volume, [(low, gap - low) for low, gap in zip(before, missing, strict=True)])
    inner = tuple(
        slice(low, size - gap + low) for low, gap, size in zip(before, missing, volume.shape, strict=True)
    )

    weights = gaussian_weights(tile)
    total = np.zeros((classes, *volume.shape), dtype=np.float32)
    weight_sum = np.zeros(volume.shape, dtype=np.float32)
    todo = [where for where in tiles(volume.shape, tile, step) if worth_looking(_shifted(where, before))]
    for number, where in enumerate(todo, start=1):
        logits = logits_of(volume[where])
        for label in range(classes):
            total[label][where] += logits[label] * weights
        weight_sum[where] += weights
        on_tile(number, len(todo))
    np.maximum(weight_sum, np.finfo(np.float32).tiny, out=weight_sum)
    for label in range(classes):
        total[label] /= weight_sum
    return total[(slice(None), *inner)]


def _shifted(where: tuple[slice, slice, slice], before: list[int]) -> tuple[slice, slice, slice]:
    first, second, third = (
        slice(max(0, part.start - low), max(0, part.stop - low))
        for part, low in zip(where, before, strict=True)
    )
    return first, second, third
