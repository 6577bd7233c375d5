# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segkit.windows import fitted_tile, gaussian_weights, run_tiles, tile_starts


@pytest.mark.parametrize(
    ("size", "tile", "step", "starts"),
    [
        (64, 64, 0.5, [0]),
        (65, 64, 0.5, [0, 1]),
        (96, 64, 0.5, [0, 32]),
        (110, 64, 0.5, [0, 23, 46]),
        (128, 64, 1.0, [0, 64]),
        (200, 96, 0.8, [0, 52, 104]),
    ],
)
def test_tiles_are_spread_evenly(size, tile, step, starts):
    assert tile_starts(size, tile, step) == starts


@pytest.mark.parametrize("step", [0.5, 0.8, 1.0])
def test_tiles_lie_where_nnunet_puts_them(step):
    theirs = pytest.importorskip("nnunetv2.inference.sliding_window_prediction")
    for size in range(32, 150):
        expected = theirs.compute_steps_for_sliding_window((size,), (32,), step)[0]
        assert tile_starts(size, 32, step) == expected


def test_the_weights_are_those_of_nnunet():
    theirs = pytest.importorskip("nnunetv2.inference.sliding_window_prediction")
    expected = theirs.compute_gaussian((16, 24, 32), dtype=torch.float64, device=torch.device("cpu")).numpy()
    assert gaussian_weights((16, 24, 32)) == pytest.approx(expected, abs=2e-4)


def test_no_voxel_of_a_tile_weighs_nothing():
    assert gaussian_weights((8, 128, 16)).min() > 0


@pytest.mark.parametrize("shape", [(3, 5, 40), (16, 16, 16), (17, 30, 50)])
def test_overlapping_tiles_give_back_what_each_of_them_says(shape):
    volume = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    logits = run_tiles(
        volume,
        classes=2,
        tile=(16, 16, 16),
        step=0.5,
        logits_of=lambda tile: np.stack([tile, -2 * tile]),
        worth_looking=lambda where: True,
    )
    assert logits.shape == (2, *shape)
    assert logits[0] == pytest.approx(volume, abs=1e-5)
    assert logits[1] == pytest.approx(-2 * volume, abs=1e-5)


def test_tiles_that_are_not_worth_it_are_not_run_and_count_as_background():
    volume = np.zeros((16, 16, 64), dtype=np.float32)
    seen = []

    def logits_of(tile):
        seen.append(tile.shape)
        return np.stack([np.zeros_like(tile), np.ones_like(tile)])

    logits = run_tiles(
        volume,
        classes=2,
        tile=(16, 16, 16),
        step=1.0,
        logits_of=logits_of,
        worth_looking=lambda where: where[2].start == 0,
    )
    assert len(seen) == 1
    assert (logits[1, :, :, :16] == 1).all()
    assert (logits[:, :, :, 16:] == 0).all()


def test_progress_is_told_tile_by_tile():
    told = []
    run_tiles(
        np.zeros((16, 16, 32), dtype=np.float32),
        classes=1,
        tile=(16, 16, 16),
        step=1.0,
        logits_of=lambda tile: tile[None],
        worth_looking=lambda where: True,
        on_tile=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 2), (2, 2)]


@pytest.mark.parametrize(
    ("shape", "most", "fitted"),
    [
        ((40, 50, 60), 0, (16, 32, 32)),  # no room: the model's own
        ((40, 50, 60), 40 * 56 * 60, (40, 56, 60)),  # all of it, rounded up
        ((16, 20, 20), 10**9, (16, 32, 32)),  # never smaller than the model's own
        ((200, 50, 60), 112 * 56 * 60, (104, 56, 60)),  # the whole plane, two tiles along z
        ((200, 500, 60), 16 * 32 * 64, (16, 32, 60)),  # room for x alone
    ],
)
def test_tiles_are_widened_as_far_as_the_bound_allows(shape, most, fitted):
    tile, _ = fitted_tile(shape, (16, 32, 32), (8, 8, 4), most)
    assert tile == fitted
    assert np.prod(tile) <= max(most, 16 * 32 * 32)


@pytest.mark.parametrize("step", [0.5, 0.8])
def test_a_wide_tile_overlaps_as_the_models_own_would(step):
    tile, steps = fitted_tile((300, 64, 64), (32, 32, 32), (8, 8, 8), 120 * 64 * 64, step)
    starts = tile_starts(300, tile[0], steps[0])
    overlaps = [first + tile[0] - second for first, second in itertools.pairwise(starts)]
    assert len(starts) == 3
    assert starts[-1] + tile[0] == 300
    assert min(overlaps) >= (1 - step) * 32 - 1  # starts are rounded


def test_a_tile_that_stays_keeps_its_step():
    assert fitted_tile((300, 64, 64), (32, 32, 32), (8, 8, 8), 0, 0.8)[1] == pytest.approx((0.8, 0.8, 0.8))
