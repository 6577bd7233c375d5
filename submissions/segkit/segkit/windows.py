"""The sliding window: where tiles lie, how they are weighted, and their sum."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

Shape = tuple[int, int, int]
Box = tuple[slice, slice, slice]


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


def steps_of(step: float | Sequence[float]) -> Sequence[float]:
    """A step for each axis, of one for all axes or one for each."""
    return [step] * 3 if isinstance(step, float | int) else step


def tiles(shape: Shape, tile: Shape, step: float | Sequence[float]) -> Iterator[Box]:
    """The tiles of a volume, z slowest; `step` is one for all axes or one for each."""
    starts = [
        tile_starts(size, length, part)
        for size, length, part in zip(shape, tile, steps_of(step), strict=True)
    ]
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


def fitted_tile(
    shape: Shape, tile: Shape, divisor: Shape, most_voxels: int, step: float = 0.5
) -> tuple[Shape, tuple[float, float, float]]:
    """A tile that covers a volume with as little overlap as a bound on its size allows, and its steps.

    Starts from the model's own tile. Where the bound leaves room it is widened to the whole of x, then of
    y, then along z so that few tiles of equal height suffice; it is never made smaller than it was.

    Args:
        shape: Size of the volume (z, y, x).
        tile: The model's tile (z, y, x).
        divisor: What a tile must be divisible by (z, y, x).
        most_voxels: The bound; a model's tile beyond it stays as it is.
        step: Largest distance of neighbours as a fraction of the model's tile. A wider tile overlaps its
            neighbours by as many voxels as the model's own would.

    Returns:
        The tile, and for each axis the largest distance of neighbours as a fraction of it.
    """
    fitted = list(tile)
    overlap = [math.ceil((1 - step) * size) for size in tile]
    for axis in (2, 1, 0):
        others = int(np.prod([fitted[other] for other in range(3) if other != axis]))
        room = most_voxels // others // divisor[axis] * divisor[axis]
        wanted = -(-shape[axis] // divisor[axis]) * divisor[axis]
        if wanted > room and axis == 0:
            # Several tiles, no higher than they need to be.
            count = max(2, -(-(shape[0] - overlap[0]) // max(1, room - overlap[0])))
            wanted = -(-(shape[0] + (count - 1) * overlap[0]) // count)
            wanted = -(-wanted // divisor[0]) * divisor[0]
        fitted[axis] = max(tile[axis], min(wanted, room))
    first, second, third = (1 - (1 - step) * own / wide for own, wide in zip(tile, fitted, strict=True))
    return (fitted[0], fitted[1], fitted[2]), (first, second, third)


@dataclass(frozen=True)
class Padding:
    """The even padding with zeros, the mean intensity, of a volume that is smaller than a tile.

    Attributes:
        shape: Size of the volume (z, y, x).
        before, after: Voxels added at the two ends of each axis.
    """

    shape: Shape
    before: Shape
    after: Shape

    @classmethod
    def around(cls, shape: Shape, tile: Shape) -> Padding:
        """The padding that makes a volume at least as large as a tile."""
        missing = [max(0, length - size) for size, length in zip(shape, tile, strict=True)]
        low = [gap // 2 for gap in missing]
        high = [gap - part for gap, part in zip(missing, low, strict=True)]
        return cls(shape, (low[0], low[1], low[2]), (high[0], high[1], high[2]))

    @property
    def inner(self) -> Box:
        """Where the volume lies in the padded one."""
        first, second, third = (
            slice(low, low + size) for low, size in zip(self.before, self.shape, strict=True)
        )
        return first, second, third

    def applied(self, volume: np.ndarray) -> np.ndarray:
        """The padded volume; the volume itself where nothing is missing."""
        gaps = list(zip(self.before, self.after, strict=True))
        return np.pad(volume, gaps) if any(map(any, gaps)) else volume

    def removed(self, where: Box) -> Box:
        """Slices of the padded volume as slices of the volume."""
        first, second, third = (
            slice(max(0, part.start - low), max(0, part.stop - low))
            for part, low in zip(where, self.before, strict=True)
        )
        return first, second, third


def run_tiles(
    volume: np.ndarray,
    *,
    classes: int,
    tile: Shape,
    step: float | Sequence[float],
    logits_of: Callable[[np.ndarray], np.ndarray],
    worth_looking: Callable[[Box], bool],
    on_tile: Callable[[int, int], None] = lambda done, total: None,
    weights: np.ndarray | None = None,
) -> np.ndarray:
    """Run a network over a volume in overlapping tiles.

    A volume smaller than a tile is padded evenly with zeros, the mean intensity after normalisation.

    Args:
        volume: float32, shape (z, y, x), normalised.
        classes: Number of output channels.
        tile: Size of a tile (z, y, x).
        step: Largest distance of neighbours as a fraction of the tile, one for all axes or one for each.
        logits_of: Logits (class, z, y, x), float32, of one tile (z, y, x).
        worth_looking: Whether a tile, given as slices of `volume`, may hold foreground.
        on_tile: Told after each tile how many are done and how many there are.
        weights: What each voxel of a tile counts where tiles overlap (z, y, x), float32 and positive; those
            of `gaussian_weights` if None.

    Returns:
        float32 logits, shape (class, z, y, x). Where no tile was run they are zero for all classes,
        which counts as background.
    """
    padding = Padding.around(volume.shape, tile)
    volume = padding.applied(volume)
    todo = [where for where in tiles(volume.shape, tile, step) if worth_looking(padding.removed(where))]

    weights = gaussian_weights(tile) if weights is None else weights
    weight_sum = np.zeros(volume.shape, dtype=np.float32)
    for where in todo:
        weight_sum[where] += weights
    total = np.zeros((classes, *volume.shape), dtype=np.float32)
    share = np.empty(tile, dtype=np.float32)
    for number, where in enumerate(todo, start=1):
        logits = logits_of(volume[where])
        # Where no other tile looks the share is exactly 1: the logits stay as the network gave them.
        np.divide(weights, weight_sum[where], out=share)
        for label in range(classes):
            total[label][where] += logits[label] * share
        on_tile(number, len(todo))
    return total[(slice(None), *padding.inner)]
