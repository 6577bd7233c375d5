"""Averaging configurations voxel by voxel, against doing it in full size."""

from __future__ import annotations

import numpy as np
import pytest
from segkit.nnunet.largest import keep_largest
from segkit.nnunet.merge import Grid, merge
from segkit.nnunet.sliding import folds_summed, sigmoid, softmax
from segkit.resample import linear_taps

OUT = (11, 17, 14)
GRIDS = [((5, 9, 8), None), ((11, 12, 7), 0), ((11, 17, 14), None)]


def numbers(shape, outputs, seed):
    from scipy import ndimage

    noise = np.random.default_rng(seed).normal(size=(outputs, *shape))
    return np.stack([4 * ndimage.gaussian_filter(each, 1.0) for each in noise]).astype(np.float32)


def enlarged(volume, apart):
    """A volume in full size, axis after axis."""
    for axis, want in enumerate(OUT):
        have = volume.shape[axis]
        lower, upper, weight = linear_taps(have, want)
        if apart == axis:
            position = (np.arange(want) + 0.5) * (have / want) - 0.5
            lower = upper = np.clip(np.floor(position + 0.5).astype(int), 0, have - 1)
            weight = np.zeros(want, dtype=np.float32)
        by = weight.reshape([-1 if other == axis else 1 for other in range(3)])
        volume = volume.take(lower, axis) * (1 - by) + volume.take(upper, axis) * by
    return volume


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("probabilities", [False, True])
@pytest.mark.parametrize("regions", [(), (2, 1, 3, 5)])
def test_merging_equals_averaging_in_full_size(count, probabilities, regions):
    values = [numbers(shape, 4, seed) for seed, (shape, _) in enumerate(GRIDS[:count])]
    certain = sigmoid if regions else lambda one: softmax(one, axis=0)
    if probabilities:
        values = [certain(each) for each in values]
    out = np.empty(OUT, dtype=np.uint8)
    grids = [Grid(each, apart) for each, (_, apart) in zip(values, GRIDS, strict=False)]
    merge(grids, out, regions, probabilities=probabilities, threads=2)

    full = [np.stack([enlarged(one, grid.apart) for one in grid.values]) for grid in grids]
    mean = sum(each if probabilities else certain(each) for each in full) / count
    wanted = mean.argmax(axis=0).astype(np.uint8)
    if regions:
        wanted = np.zeros(OUT, dtype=np.uint8)
        for value, plane in zip(regions, mean, strict=True):
            wanted[plane > 0.5] = value
    assert len(np.unique(wanted)) > 2
    assert (out != wanted).sum() <= 1


def test_folds_add_to_one_sum_whatever_their_number():
    image = numbers((6, 20, 18), 1, 0)
    networks = [lambda tiles, by=by: np.concatenate([tiles, by * tiles], axis=1) for by in (1, 2, 6)]
    tile = (1, 8, 8)
    found = folds_summed(image, networks=networks, count=3, outputs=2, tile=tile, axes=2, step=0.5)
    # A voxel is the same in all tiles, so the Gaussian's mean of it is itself; 3 is the mean of 1, 2 and 6.
    assert np.allclose(found[0], image[0], atol=1e-5)
    assert np.allclose(found[1], 3 * image[0], atol=1e-5)


def test_a_last_batch_of_slices_is_as_large_as_the_others():
    sizes = set()

    def network(tiles):
        sizes.add(len(tiles))
        return tiles

    image = np.zeros((1, 37, 128, 128), dtype=np.float32)
    folds_summed(image, networks=[network], count=1, outputs=1, tile=(1, 128, 128), axes=2, step=0.5)
    assert len(sizes) == 1


def test_of_equally_large_parts_all_stay():
    labels = np.zeros((1, 3, 9), dtype=np.uint8)
    labels[0, 0, :2], labels[0, 0, 3:5], labels[0, 2, 8] = 1, 2, 1
    keep_largest(labels, [(1, 2)])
    assert (labels[0, 0, :2] == 1).all() and (labels[0, 0, 3:5] == 2).all()
    assert labels[0, 2, 8] == 0
