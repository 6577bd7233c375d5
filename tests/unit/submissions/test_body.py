from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from segkit.body import find_body


def test_air_has_no_body():
    assert find_body(np.full((10, 20, 20), -1000, dtype=np.int16), (3.0, 2.0, 2.0)) is None


def test_the_box_holds_the_body_and_leaves_most_air_out():
    array = np.full((30, 100, 100), -1000, dtype=np.int16)
    array[5:25, 40:60, 30:70] = 50
    body = find_body(array, (4.0, 2.0, 2.0))
    inside = np.zeros(array.shape, dtype=bool)
    inside[body.box] = True
    assert inside[array > -500].all()
    assert [part.stop - part.start for part in body.box] < [30, 40, 60]


def test_both_legs_are_kept_and_a_bright_speck_is_not():
    array = np.full((20, 60, 120), -1000, dtype=np.int16)
    array[:, 20:40, 10:40] = 40
    array[:, 20:40, 80:95] = 40
    array[0:2, 0:2, 118:120] = 3000
    body = find_body(array, (3.0, 2.0, 2.0))
    assert body.box[2].start < 10
    assert 95 <= body.box[2].stop < 118


def test_a_volume_smaller_than_a_coarse_voxel_is_a_body():
    body = find_body(np.full((1, 1, 1), 40, dtype=np.int16), (0.5, 0.5, 0.5))
    assert body.box == (slice(0, 1), slice(0, 1), slice(0, 1))
