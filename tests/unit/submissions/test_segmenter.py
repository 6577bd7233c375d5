# ruff: noqa: E402 - torch is looked for before what needs it
from __future__ import annotations

import itertools

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import SimpleITK as sitk
from segkit import Segmenter, Settings, TorchEngine
from segkit.errors import SegkitError
from segkit.image import from_image

from .conftest import make_body_hu, make_tiny_plan


class BrightIsForeground:
    """A network that needs no weights: class 1 where the tile is above the mean intensity."""

    def __init__(self):
        self.tiles = 0

    def logits(self, tile):
        self.tiles += 1
        return np.stack([-tile, tile, np.full_like(tile, -9.0)])


def volume(array, spacing=(1.5, 1.0, 1.2), direction=None):
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    if direction is not None:
        image.SetDirection(direction)
    return from_image(image)


def test_the_answer_lies_where_the_image_is_bright():
    array = np.full((40, 60, 60), -1000, dtype=np.int16)
    array[:, 10:50, 10:50] = 0
    array[10:30, 20:40, 25:45] = 200
    labels = Segmenter(make_tiny_plan(), BrightIsForeground()).segment(volume(array, spacing=(2.0, 2.0, 3.0)))
    assert labels.dtype == np.uint8
    assert np.array_equal(labels == 1, array == 200)


@pytest.mark.parametrize("signs", list(itertools.product((1.0, -1.0), repeat=3)))
def test_a_volume_stored_flipped_gets_the_same_answer_flipped(tiny_model, signs):
    plan, network = tiny_model
    segmenter = Segmenter(plan, TorchEngine(network))
    array = make_body_hu((12, 30, 26))
    straight = segmenter.segment(volume(array))
    flips = tuple(slice(None, None, -1) if sign < 0 else slice(None) for sign in signs[::-1])
    turned_ct = volume(array[flips].copy(), direction=np.diag(signs).ravel())
    turned = turned_ct.orientation.to_stored(segmenter.segment(turned_ct))
    assert np.array_equal(turned, straight[flips])


def test_a_plan_for_stored_arrays_sees_them_as_they_lie():
    class Ramp:
        def logits(self, tile):
            ramp = np.broadcast_to(np.linspace(-1, 1, tile.shape[2], dtype=np.float32), tile.shape)
            return np.stack([-ramp, ramp, np.full_like(tile, -9.0)])

    plan = make_tiny_plan(orientation="stored", spacing_mm=(1.0, 1.0, 1.0))
    array = np.full((16, 16, 16), 40, dtype=np.int16)
    ct = volume(array, spacing=(1.0, 1.0, 1.0), direction=(-1, 0, 0, 0, 1, 0, 0, 0, 1))
    stored = ct.orientation.to_stored(Segmenter(plan, Ramp()).segment(ct))
    assert stored[:, :, 8:].all()
    assert not stored[:, :, :8].any()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 40), (40, 1, 3), (2, 3, 300)])
def test_tiny_and_thin_volumes_are_segmented(tiny_model, shape):
    plan, network = tiny_model
    labels = Segmenter(plan, TorchEngine(network)).segment(volume(np.full(shape, 40, dtype=np.int16)))
    assert labels.shape == shape


@pytest.mark.parametrize("hu", [-1000, -32768])
def test_all_air_gives_an_empty_map_without_running_the_network(hu):
    engine = BrightIsForeground()
    labels = Segmenter(make_tiny_plan(), engine).segment(volume(np.full((20, 30, 30), hu, dtype=np.int16)))
    assert not labels.any()
    assert engine.tiles == 0


@pytest.mark.parametrize("spacing", [(1e-3, 1e-3, 1e-3), (0.5, 0.5, 40.0), (90.0, 90.0, 90.0)])
def test_odd_spacings_do_no_harm(spacing):
    plan = make_tiny_plan()
    settings = Settings(step=1.0, logits_limit_bytes=2_000_000)
    array = make_body_hu((6, 12, 12))
    labels = Segmenter(plan, BrightIsForeground(), settings).segment(volume(array, spacing=spacing))
    assert labels.shape == array.shape


def test_air_tiles_are_skipped_and_change_nothing():
    array = np.full((16, 32, 200), -1000, dtype=np.int16)
    array[:, 4:28, 4:40] = 0
    array[:, 4:28, 160:196] = 200
    plan = make_tiny_plan(spacing_mm=(2.0, 2.0, 2.0))
    few, many = BrightIsForeground(), BrightIsForeground()
    ct = volume(array, spacing=(2.0, 2.0, 2.0))
    skipping = Segmenter(plan, few, Settings(skip_air_tiles=True)).segment(ct)
    everything = Segmenter(plan, many, Settings(skip_air_tiles=False, crop_to_body=False)).segment(ct)
    assert few.tiles < many.tiles
    assert np.array_equal(skipping, everything)


def test_left_out_labels_never_appear(tiny_model):
    plan, network = tiny_model
    ct = volume(make_body_hu((20, 40, 40)))
    free = Segmenter(plan, TorchEngine(network)).segment(ct)
    label = int(np.bincount(free[free > 0]).argmax())
    without = Segmenter(plan, TorchEngine(network), leave_out=[label]).segment(ct)
    assert (free == label).any()
    assert not (without == label).any()


def test_the_same_volume_gives_the_same_answer_twice(tiny_model):
    plan, network = tiny_model
    segmenter = Segmenter(plan, TorchEngine(network))
    ct = volume(make_body_hu((20, 40, 40)))
    assert np.array_equal(segmenter.segment(ct), segmenter.segment(ct))


def block_in_tissue():
    """A bright block in soft tissue in air, boundaries on the network's grid of 6 x 2 x 2 mm."""
    array = np.full((60, 60, 60), -1000, dtype=np.int16)
    array[:, 10:50, 10:50] = 0
    array[12:48, 20:40, 20:46] = 200
    return volume(array, spacing=(1.0, 1.0, 2.0)), array == 200


@pytest.mark.parametrize("windows", ["all", "centre_first"])
def test_every_choice_of_windows_and_labels_finds_the_same_block(windows):
    ct, block = block_in_tissue()
    exact = Segmenter(make_tiny_plan(), BrightIsForeground(), Settings(windows=windows)).segment(ct)
    rough = Segmenter(
        make_tiny_plan(), BrightIsForeground(), Settings(windows=windows, labels_at="network")
    ).segment(ct)
    assert np.array_equal(exact == 1, Segmenter(make_tiny_plan(), BrightIsForeground()).segment(ct) == 1)
    overlap = 2 * np.count_nonzero((rough == 1) & block) / (np.count_nonzero(rough == 1) + block.sum())
    assert overlap > 0.9


def test_labels_at_the_networks_resolution_leave_out_labels_too(tiny_model):
    plan, network = tiny_model
    ct = volume(make_body_hu((20, 40, 40)))
    settings = Settings(labels_at="network")
    free = Segmenter(plan, TorchEngine(network), settings).segment(ct)
    label = int(np.bincount(free[free > 0]).argmax())
    without = Segmenter(plan, TorchEngine(network), settings, leave_out=[label]).segment(ct)
    assert not (without == label).any()


def test_centre_first_runs_fewer_tiles():
    array = np.full((30, 200, 200), -1000, dtype=np.int16)
    array[:, 10:190, 10:190] = 0
    array[:, 90:110, 90:110] = 200
    ct = volume(array, spacing=(1.0, 1.0, 3.0))
    every, few = BrightIsForeground(), BrightIsForeground()
    plan = make_tiny_plan(patch=(16, 32, 32))
    assert np.array_equal(
        Segmenter(plan, every).segment(ct),
        Segmenter(plan, few, Settings(windows="centre_first")).segment(ct),
    )
    assert few.tiles < every.tiles / 10


@pytest.mark.parametrize("change", [{"windows": "some"}, {"labels_at": "home"}])
def test_a_setting_that_is_none_is_refused_by_name(change):
    with pytest.raises(SegkitError, match=rf"{next(iter(change))} is '\w+'; it must be"):
        Settings(**change)
