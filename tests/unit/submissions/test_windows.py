# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from segkit.windows import gaussian_weights, run_tiles, tile_starts


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
