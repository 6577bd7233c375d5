"""The setting that keeps one part of each organ, on both grids on which labels are decided."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from segkit.image import from_image
from segkit.predict import Segmenter, Settings

from .conftest import make_tiny_plan

LABELS = ("background", "liver", "tumour")


class Painter:
    """A network that finds label 1 and label 2 where the image says so."""

    def logits(self, tile):
        logits = np.zeros((3, *tile.shape), dtype=np.float32)
        logits[1][tile > 1] = 5
        logits[2][tile > 3] = 9
        return logits


@pytest.fixture
def ct():
    """Two livers of unequal size and two tumours, on the network's own grid."""
    array = np.full((16, 16, 16), 40, dtype=np.int16)
    array[2:6, 2:12, 2:12] = 130
    array[10:12, 2:5, 2:5] = 130
    array[3, 3, 3] = array[13, 13, 13] = 295
    # 130 HU is 1.5 and 295 HU 4.25 standard deviations above the plan's mean.
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((2.0, 2.0, 3.0))
    return from_image(image)


@pytest.mark.parametrize("labels_at", ["ct", "network"])
def test_one_part_of_an_organ_is_kept_and_every_lesion(ct, labels_at):
    found = {}
    for largest in (False, True):
        settings = Settings(labels_at=labels_at, largest_parts=largest, crop_to_body=False)
        found[largest] = Segmenter(make_tiny_plan(labels=LABELS), Painter(), settings).segment(ct)
    assert found[False][11, 3, 3] == 1 and found[True][11, 3, 3] == 0
    assert found[True][4, 8, 8] == 1
    assert (found[True] == 2).sum() == (found[False] == 2).sum() == 2
