"""The sliding window of nnU-Net over several channels, several folds, and slices as well as volumes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from segkit.windows import Box, Padding, Shape, gaussian_weights, tiles

Batch = Callable[[np.ndarray], np.ndarray]
_PIXELS_AT_ONCE = 2**18


def folds_summed(
    image: np.ndarray,
    *,
    networks: Iterable[Batch],
    count: int,
    outputs: int,
    tile: Shape,
    axes: int,
    step: float,
) -> np.ndarray:
    """The mean over folds of what a network gives, tile by tile, weighted by a Gaussian.

    Every fold adds to one sum, so memory does not grow with their number; one network is open at a time.

    Args:
        image: float32 (channel, z, y, x).
        networks: For each fold what turns tiles (n, channel, ...) into outputs (n, output, ...).
        count: How many folds there are.
        outputs: Outputs of each network.
        tile: Size of a tile (z, y, x); one slice thick for a network of slices.
        axes: 3, or 2 for a network of slices, which are taken several at a time.
        step: Largest distance of neighbouring tiles as a fraction of the tile.

    Returns:
        float32 (output, z, y, x).
    """
    padding = Padding.around(_shape(image), tile)
    padded = np.stack([padding.applied(channel) for channel in image])
    steps = [1.0] * (3 - axes) + [step] * axes
    todo = list(tiles(_shape(padded), tile, steps))
    weights = gaussian_weights(tile)
    weight_sum = np.zeros(padded.shape[1:], dtype=np.float32)
    for place in todo:
        weight_sum[place] += weights
    total = np.zeros((outputs, *padded.shape[1:]), dtype=np.float32)
    together = 1 if axes == 3 else max(1, _PIXELS_AT_ONCE // (tile[1] * tile[2]))
    for network in networks:
        for places in _batches(todo, together):
            tiles_now = np.stack([padded[(slice(None), *place)] for place in places])
            if axes == 2:
                tiles_now = tiles_now[:, :, 0]
            # Each number of tiles would be compiled for anew, so the last batch is filled up.
            missing = together - len(places) if len(todo) > together else 0
            if missing:
                tiles_now = np.concatenate([tiles_now, np.repeat(tiles_now[-1:], missing, axis=0)])
            found = network(tiles_now)
            for place, one in zip(places, found, strict=False):
                share = weights / (weight_sum[place] * np.float32(count))
                total[(slice(None), *place)] += one.reshape(outputs, *tile) * share
    return total[(slice(None), *padding.inner)]


def mirrored(network: Batch, axes: Sequence[int]) -> Batch:
    """The mean over a batch and its mirror images along `axes`, counted from the first spatial axis."""
    flips = [
        tuple(axis + 2 for axis in flip)
        for many in range(len(axes) + 1)
        for flip in itertools.combinations(axes, many)
    ]

    def mean(tiles_now: np.ndarray) -> np.ndarray:
        total = np.zeros(1, dtype=np.float32)
        for flip in flips:
            total = total + np.flip(network(np.flip(tiles_now, flip)), flip)
        return total / np.float32(len(flips))

    return mean if axes else network


def softmax(values: np.ndarray, axis: int) -> np.ndarray:
    """Probabilities of labels that exclude each other."""
    raised = np.exp(values - values.max(axis=axis, keepdims=True))
    return raised / raised.sum(axis=axis, keepdims=True)


def sigmoid(values: np.ndarray) -> np.ndarray:
    """Probabilities of regions."""
    return np.float32(1) / (np.float32(1) + np.exp(-np.clip(values, -80, 80)))


def _shape(image: np.ndarray) -> Shape:
    first, second, third = image.shape[1:]
    return (first, second, third)


def _batches(places: Sequence[Box], together: int) -> Iterable[Sequence[Box]]:
    for start in range(0, len(places), together):
        yield places[start : start + together]
