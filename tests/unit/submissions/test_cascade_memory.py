from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("openvino")

from .conftest import SUBMISSIONS

PROGRAM = """
import resource
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from cascade.pipeline import Cascade
from cascade.plan import CascadePlan
from segkit.image import from_image


class Region:
    def logits(self, tile):
        logits = np.zeros((2, *tile.shape), dtype=np.float32)
        logits[1, 10:118, 20:108, 20:108] = 1
        return logits


class Blobs:
    def logits(self, tile):
        logits = np.zeros((14, *tile.shape), dtype=np.float32)
        for label in range(1, 14):
            logits[label, 4 * label : 4 * label + 6, 10:70, 10:70] = 1
        return logits


slices = int(sys.argv[1])
array = np.full((slices, 512, 512), -1000, dtype=np.int16)
array[:, 60:450, 30:480] = 40
image = sitk.GetImageFromArray(array)
image.SetSpacing((0.8, 0.8, 1.0))
del array
ct = from_image(image)
del image
plan = CascadePlan.from_json(Path(sys.argv[2]).read_text(), where="short.json")
found = np.unique(Cascade(plan, Region(), Blobs()).segment(ct))
assert found.tolist() == list(range(14)), found
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("slices", "most_gib"), [(597, 1.5), (1200, 2.5)])
def test_long_cts_leave_room_for_the_networks(slices, most_gib):
    paths = [str(SUBMISSIONS / "segkit"), str(SUBMISSIONS / "cascade")]
    recipe = SUBMISSIONS / "cascade/plans/short.json"
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(slices), recipe],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < most_gib
