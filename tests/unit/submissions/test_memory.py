from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("torch")

from .conftest import SUBMISSIONS

PROGRAM = """
import resource
import sys

import numpy as np
import SimpleITK as sitk
from segkit import Segmenter
from segkit.image import from_image
from segkit.plan import Intensity, NetworkPlan, Plan


class Blobs:
    def logits(self, tile):
        logits = np.zeros((15, *tile.shape), dtype=np.float32)
        for label in range(1, 15):
            logits[label, 5 * label : 5 * label + 8, 10:110, 10:110] = 1
        return logits


network = NetworkPlan(1, 15, (32, 64), ((3, 3, 3),) * 2, ((1, 1, 1), (2, 2, 2)), (2, 2), (2,))
labels = tuple(str(value) for value in range(15))
plan = Plan((3.0, 2.0, 2.0), (96, 128, 128), Intensity(-200, 300, 40, 60), labels, network)
array = np.full((600, 512, 512), -1000, dtype=np.int16)
array[:, 60:450, 30:480] = 40
image = sitk.GetImageFromArray(array)
image.SetSpacing((0.8, 0.8, 1.0))
del array
ct = from_image(image)
del image
found = np.unique(Segmenter(plan, Blobs()).segment(ct))
assert found.tolist() == list(range(15)), found
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
def test_a_long_ct_with_15_classes_stays_far_below_4_gib_beside_the_network():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"PYTHONPATH": str(SUBMISSIONS / "segkit")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 2.5
