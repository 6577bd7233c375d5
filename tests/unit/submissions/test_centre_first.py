# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import SimpleITK as sitk
from segkit import Segmenter, Settings, read_ct
from segkit.centre_first import LEAST_CENTRE_ML, centred_starts, run_centre_first
from segkit.plan import Intensity, NetworkPlan, Plan
from segkit.windows import run_tiles

TILE = (8, 16, 16)


class Bright:
    """A network that needs no weights: class 1 where the tile is above zero. Remembers how often it ran."""

    def __init__(self):
        self.tiles = 0

    def __call__(self, tile):
        self.tiles += 1
        return np.stack([-tile, tile])


def found(volume, *, network=None, voxel_ml=1.0, worth_looking=lambda where: True, tile=TILE):
    logits = run_centre_first(
        volume,
        classes=2,
        tile=tile,
        step=0.5,
        voxel_ml=voxel_ml,
        logits_of=network or Bright(),
        worth_looking=worth_looking,
    )
    return logits[1] > logits[0]


def dark(shape):
    return np.full(shape, -1.0, dtype=np.float32)


@pytest.mark.parametrize("step", [0.5, 0.8, 1.0])
def test_the_tiles_of_an_axis_are_odd_in_number_centred_and_cover_it(step):
    for size in range(16, 100):
        starts = centred_starts(size, 16, step)
        assert len(starts) % 2 == 1
        assert starts[0] == 0
        assert starts[-1] == size - 16
        assert starts[len(starts) // 2] == pytest.approx((size - 16) / 2, abs=0.5)
        assert all(second - first <= 16 * step + 1 for first, second in itertools.pairwise(starts))


@pytest.mark.parametrize("size", [17, 24, 31, 32])
def test_up_to_twice_a_tile_there_are_the_three_tiles_of_the_source(size):
    assert centred_starts(size, 16, 0.5) == [0, round((size - 16) / 2), size - 16]


@pytest.mark.parametrize("shape", [(3, 5, 40), (8, 16, 16), (9, 30, 50), (20, 80, 70)])
def test_where_all_is_foreground_every_tile_is_run_and_gives_back_what_it_says(shape):
    volume = np.random.default_rng(0).uniform(0.1, 1, size=shape).astype(np.float32)
    logits = run_centre_first(
        volume,
        classes=2,
        tile=TILE,
        step=0.5,
        voxel_ml=1.0,
        logits_of=Bright(),
        worth_looking=lambda where: True,
    )
    assert logits.shape == (2, *shape)
    assert logits[1] == pytest.approx(volume, abs=1e-5)
    assert logits[0] == pytest.approx(-volume, abs=1e-5)


def test_a_plane_that_one_tile_covers_is_run_as_always():
    volume = np.random.default_rng(1).normal(size=(30, 16, 12)).astype(np.float32)
    named = {"classes": 2, "tile": TILE, "step": 0.5, "worth_looking": lambda where: True}
    every = run_tiles(volume, logits_of=Bright(), **named)
    centre_first = run_centre_first(volume, logits_of=Bright(), voxel_ml=1.0, **named)
    assert centre_first == pytest.approx(every, abs=1e-5)


def test_an_organ_inside_the_middle_tile_takes_one_tile_a_plane():
    volume, network = dark((8, 32, 32)), Bright()
    volume[:, 10:22, 10:22] = 1
    assert np.array_equal(found(volume, network=network), volume > 0)
    assert network.tiles == 1


def test_an_organ_on_a_face_of_the_middle_tile_takes_its_eight_neighbours():
    volume, network = dark((8, 32, 32)), Bright()
    volume[:, 10:22, 10:30] = 1
    assert np.array_equal(found(volume, network=network), volume > 0)
    assert network.tiles == 9


def test_a_nearly_empty_middle_leaves_its_neighbours_out():
    volume, network = dark((8, 32, 32)), Bright()
    volume[4, 16, 16:28] = 1  # 8 voxels inside the middle tile, to its face
    voxels = 8
    assert not found(volume, network=network, voxel_ml=0.99 * LEAST_CENTRE_ML / voxels)[..., 24:].any()
    assert network.tiles == 1
    assert np.array_equal(found(volume, voxel_ml=1.01 * LEAST_CENTRE_ML / voxels), volume > 0)


def test_organs_are_followed_beyond_twice_the_size_of_a_tile():
    volume = dark((8, 16, 120))
    volume[:, 6:10, 50:118] = 1
    assert np.array_equal(found(volume), volume > 0)


def test_where_nothing_leads_no_tile_is_run():
    volume, network = dark((8, 16, 120)), Bright()
    volume[:, 6:10, 50:80] = 1
    volume[:, 6:10, 110:115] = 1  # apart from everything, four tiles from the middle
    result = found(volume, network=network)
    assert result[:, :, :80].any()
    assert not result[:, :, 110:].any()


@pytest.mark.parametrize("way", [1, -1])
def test_an_organ_beside_the_middle_is_followed_into_planes_whose_middle_is_empty(way):
    volume = dark((32, 48, 48))
    volume[:12, 20:28, 20:44] = 1  # leads out of the middle in the first planes
    volume[:, 20:28, 36:44] = 1  # goes on where the middle is empty
    volume = np.ascontiguousarray(volume[::way])
    assert np.array_equal(found(volume), volume > 0)


def test_air_in_the_middle_does_not_hide_what_lies_beside_it():
    volume = dark((8, 16, 48))
    volume[:, 2:14, 36:46] = 1
    legs = found(volume, worth_looking=lambda where: where[2].start < 8 or where[2].start > 24)
    assert np.array_equal(legs, volume > 0)


def test_tiles_that_are_not_worth_it_are_not_run():
    network = Bright()
    assert not found(dark((8, 40, 40)) + 2, network=network, worth_looking=lambda where: False).any()
    assert network.tiles == 0


def test_progress_ends_with_all_tiles_done():
    told = []
    run_centre_first(
        np.ones((8, 32, 32), dtype=np.float32),
        classes=2,
        tile=TILE,
        step=0.5,
        voxel_ml=1.0,
        logits_of=Bright(),
        worth_looking=lambda where: True,
        on_tile=lambda done, total: told.append((done, total)),
    )
    assert [done for done, _ in told] == list(range(1, 10))
    assert told[-1] == (9, 9)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["torso", "slab"])
def test_with_a_network_that_is_never_wrong_no_organ_of_a_patient_is_lost(shared_data, case):
    """The student's short plan; organs are 1, the rest of the body 0, so that brightness is the label."""
    ct = read_ct(shared_data / f"abdomen/imagesVal/{case}_0000.nii.gz")
    labels = sitk.ReadImage(str(shared_data / f"abdomen/labelsVal/{case}.nii.gz"))
    organs = ct.orientation.to_canonical(sitk.GetArrayFromImage(labels)) > 0
    ct = replace(ct, array=np.where(organs, 1, np.minimum(ct.array, 0)).astype(np.int16))
    network = NetworkPlan(
        channels_in=1,
        channels_out=2,
        features=(1,) * 5,
        kernels=((3, 3, 3),) * 5,
        strides=((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
        convs_encoder=(2,) * 5,
        convs_decoder=(2,) * 4,
    )
    plan = Plan((4.0, 2.5, 2.5), (32, 96, 128), Intensity(0, 1, 0, 1), ("background", "organ"), network)

    class Perfect(Bright):
        def logits(self, tile):
            return self(tile - 0.5)

    every, few = Perfect(), Perfect()
    expected = Segmenter(plan, every).segment(ct)
    found = Segmenter(plan, few, Settings(windows="centre_first")).segment(ct)
    assert expected.any()
    assert not (expected.astype(bool) & ~found.astype(bool)).any()
    assert few.tiles < every.tiles / 2
