"""The sliding window from the middle outwards: tiles beside the middle are run only where organs lead there.

After the window scheme of the FLARE22 and FLARE23 entries of blackbean. At each height the tile in the
middle of the plane is run first. Its eight neighbours are left out if it holds hardly any foreground, or
if none of its four in-plane faces has any: nothing sticks out of it.

What differs from the source, which never looks beyond twice the size of a tile in a plane and so loses
what lies there:

- Rings of tiles go on to the border of the volume. Every tile that was run, the middle ones aside, asks
  for the neighbour at each of its six faces that has foreground, so organs are followed out of the
  central tiles, and up and down into planes whose neighbours had been left out.
- A nearly empty middle tile leaves out its own neighbours, never the next plane.
- The threshold is a volume, not a number of voxels.
- The source's rules for the front rows of a plane and for planes of vessels and esophagus alone, which
  name labels and the patient's orientation, are not ported.
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from segkit.windows import Box, Padding, Shape, gaussian_weights, steps_of, tile_starts

LEAST_CENTRE_ML = 5.76
"""Foreground below which a middle tile counts as empty: the source's 1000 voxels of 4 x 1.2 x 1.2 mm."""

Place = tuple[int, int, int]
"""Number of a tile along z, y and x."""


def centred_starts(size: int, tile: int, step: float) -> list[int]:
    """Starts of an odd number of tiles along one axis, the middle one centred, the outer ones at the borders.

    Up to a size of twice the tile, and with a step of one half, they are the source's three.

    Args:
        size: Size of the volume, at least `tile`.
        tile: Size of a tile.
        step: Largest distance of neighbours as a fraction of the tile, in (0, 1].
    """
    beside = math.ceil((size - tile) / 2 / (tile * step))
    count = 2 * beside + 1
    if count == 1:
        return [0]
    return [round((size - tile) * number / (count - 1)) for number in range(count)]


def run_centre_first(
    volume: np.ndarray,
    *,
    classes: int,
    tile: Shape,
    step: float | Sequence[float],
    voxel_ml: float,
    logits_of: Callable[[np.ndarray], np.ndarray],
    worth_looking: Callable[[Box], bool],
    on_tile: Callable[[int, int], None] = lambda done, total: None,
) -> np.ndarray:
    """Run a network over a volume, at each height from the middle of the plane outwards.

    Args:
        volume: float32, shape (z, y, x), normalised.
        classes: Number of output channels; the first is the background.
        tile: Size of a tile (z, y, x).
        step: Largest distance of neighbours as a fraction of the tile, one for all axes or one for each.
        voxel_ml: Volume of a voxel.
        logits_of: Logits (class, z, y, x), float32, of one tile (z, y, x).
        worth_looking: Whether a tile, given as slices of `volume`, may hold foreground.
        on_tile: Told after each tile how many are done and how many it takes as far as is known.

    Returns:
        float32 logits, shape (class, z, y, x). Where no tile was run they are zero for all classes,
        which counts as background.
    """
    padding = Padding.around(volume.shape, tile)
    volume = padding.applied(volume)
    first, *others = steps_of(step)
    starts = [tile_starts(volume.shape[0], tile[0], first)]
    starts += [centred_starts(volume.shape[axis], tile[axis], others[axis - 1]) for axis in (1, 2)]
    middle = (len(starts[1]) // 2, len(starts[2]) // 2)

    weights = gaussian_weights(tile)
    weight_sum = np.zeros(volume.shape, dtype=np.float32)
    total = np.zeros((classes, *volume.shape), dtype=np.float32)
    wanted = deque((plane, *middle) for plane in range(len(starts[0])))
    known = set(wanted)
    done = 0
    while wanted:
        place = wanted.popleft()
        where = _box(place, starts, tile)
        if worth_looking(padding.removed(where)):
            logits = logits_of(volume[where])
            weight_sum[where] += weights
            for label in range(classes):
                total[label][where] += logits[label] * weights
            foreground = logits[1:].max(axis=0, initial=-np.inf) > logits[0]
            if place[1:] == middle:
                asked_for = _around_middle(foreground, place, voxel_ml)
            else:
                asked_for = _beyond(foreground, place)
            done += 1
            on_tile(done, done + len(wanted))
        else:
            # Air says nothing about what lies beside it: between two legs, say.
            asked_for = _ring(place)
        for neighbour in asked_for:
            inside = all(0 <= number < len(along) for number, along in zip(neighbour, starts, strict=True))
            if inside and neighbour not in known:
                known.add(neighbour)
                wanted.append(neighbour)
    for label in range(classes):
        np.divide(total[label], weight_sum, out=total[label], where=weight_sum > 0)
    return total[(slice(None), *padding.inner)]


def _box(place: Place, starts: Sequence[Sequence[int]], tile: Shape) -> Box:
    first, second, third = (
        slice(along[number], along[number] + size)
        for number, along, size in zip(place, starts, tile, strict=True)
    )
    return first, second, third


def _around_middle(foreground: np.ndarray, place: Place, voxel_ml: float) -> Iterable[Place]:
    """What a middle tile with a foreground (z, y, x) asks for: its ring or nothing."""
    if foreground.sum() * voxel_ml < LEAST_CENTRE_ML:
        return ()
    sticks_out = any(foreground.take(edge, axis).any() for axis in (1, 2) for edge in (0, -1))
    return _ring(place) if sticks_out else ()


def _ring(place: Place) -> Iterable[Place]:
    """The eight places around one in its plane."""
    plane, row, column = place
    shifts = itertools.product((-1, 0, 1), repeat=2)
    return [(plane, row + down, column + across) for down, across in shifts if (down, across) != (0, 0)]


def _beyond(foreground: np.ndarray, place: Place) -> Iterable[Place]:
    """The places beyond those of a tile's six faces that have foreground (z, y, x)."""
    for axis, (edge, way) in itertools.product(range(3), ((0, -1), (-1, 1))):
        if foreground.take(edge, axis).any():
            shift = [way if other == axis else 0 for other in range(3)]
            yield place[0] + shift[0], place[1] + shift[1], place[2] + shift[2]
