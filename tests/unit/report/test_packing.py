"""Packed cases: what a page holds of a case is what the volumes held."""

from __future__ import annotations

import base64
import zlib

import imagecodecs
import numpy as np
import pytest

from harness.report import packing
from harness.report.packing import PackedCase
from harness.report.volumes import CaseVolumes, labelled_box
from tests.unit.report.volumes import body


def unpacked(text: str, shape: tuple[int, int, int]) -> np.ndarray:
    """Undo `_runs` as the page's script does."""
    content = zlib.decompress(base64.b64decode(text))
    count = len(content) // 5
    lengths = np.frombuffer(content, "<u4", count)
    values = np.frombuffer(content, np.uint8, count, 4 * count)
    return np.repeat(values, lengths).reshape(shape, order="F")


def pack_case(case: CaseVolumes, predictions: dict[int, np.ndarray]) -> PackedCase:
    box = labelled_box([case.reference, *predictions.values()])
    return packing.pack_case(case, predictions, box)


def case_of(shape: tuple[int, int, int], spacing=(1.0, 1.0, 2.5)) -> CaseVolumes:
    image, labels = body(shape, seed=1)
    return CaseVolumes(image, labels, spacing)


def test_labels_come_out_as_they_went_in_turned_to_the_left_and_the_back():
    case = case_of((40, 32, 12))
    prediction = np.roll(case.reference, 2, axis=0)
    packed = pack_case(case, {3: prediction})
    reference = unpacked(packed.reference, packed.shape)
    assert np.count_nonzero(reference) == np.count_nonzero(case.reference)
    first, second = (np.argwhere(reference == value)[:, 0].mean() for value in (1, 2))
    assert first > second  # organ 1 is at the patient's left here, and columns run to the left
    shown = unpacked(packed.predictions[3], packed.shape) ^ reference
    assert np.count_nonzero(shown == 1) == np.count_nonzero(prediction == 1)


def test_the_image_keeps_soft_tissue_within_a_few_hounsfield_units():
    case = case_of((64, 48, 10))
    packed = pack_case(case, {0: case.reference})
    tiles = imagecodecs.jpeg8_decode(base64.b64decode(packed.image))
    reference = unpacked(packed.reference, packed.shape)
    z = packed.shape[2] // 2
    top, left = z // packed.across * packed.shape[1], z % packed.across * packed.shape[0]
    tile = tiles[top : top + packed.shape[1], left : left + packed.shape[0]].T.astype(float)
    levels, intensities = zip(*packed.knots, strict=True)
    seen = np.interp(tile, levels, intensities)[reference[:, :, z] == 1].mean()
    assert packed.is_hu
    assert seen == pytest.approx(case.image[case.reference == 1].mean(), abs=8)


def test_what_lies_far_from_all_labels_is_cropped():
    case = case_of((40, 32, 200))
    packed = pack_case(case, {0: case.reference})
    held = np.flatnonzero((case.reference != 0).any(axis=(0, 1)))
    assert packed.shape[2] == len(held) + 24  # 30 mm at each side, 12 slices of 2.5 mm


def test_a_false_alarm_far_away_is_within_the_crop():
    case = case_of((40, 32, 200))
    prediction = case.reference.copy()
    prediction[20, 16, 195] = 1
    packed = pack_case(case, {0: prediction})
    assert np.count_nonzero(unpacked(packed.predictions[0], packed.shape)) == 1


def test_a_large_case_is_thinned_along_its_finest_axes_until_it_fits(monkeypatch):
    monkeypatch.setattr(packing, "_MOST_VOXELS", 20_000)
    packed = pack_case(case_of((80, 64, 20), spacing=(0.7, 0.7, 5.0)), {})
    assert np.prod(packed.shape) <= 20_000
    assert packed.step[2] == 1
    assert packed.step[0] == packed.step[1] > 1
    assert packed.spacing_mm[0] == pytest.approx(0.7 * packed.step[0])


def test_noise_that_packs_badly_still_fits_and_predictions_without_room_are_counted(monkeypatch):
    monkeypatch.setattr(packing, "MOST_BYTES", 60_000)
    generator = np.random.default_rng(0)
    case = case_of((128, 96, 30))
    noisy = CaseVolumes(
        generator.integers(-1000, 1500, case.image.shape, np.int16), case.reference, (1, 1, 1)
    )
    wild = {row: generator.integers(0, 3, case.image.shape, np.uint8) for row in range(4)}
    packed = pack_case(noisy, wild)
    size = len(packed.image) + len(packed.reference) + sum(map(len, packed.predictions.values()))
    assert size <= 60_000
    assert packed.left_out == 4 - len(packed.predictions) > 0


def test_an_image_without_air_is_shown_over_its_own_range():
    case = case_of((40, 32, 12))
    packed = pack_case(CaseVolumes(case.image.clip(0) + 300, case.reference, (1, 1, 1)), {})
    assert not packed.is_hu
    assert packed.knots[0][1] >= 300
