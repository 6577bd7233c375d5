"""Compile the kernels ahead of their first use: `python -m evaluator.precompile`.

The first call of a kernel compiles it, which takes seconds; the result is kept on disk for every later run.
This belongs where a program is installed or an image is built, so that no user waits for it.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from evaluator.distances import measure_distances
from evaluator.labels import Label
from evaluator.measure import measure_labels
from evaluator.runs import LABELS, find_runs


def precompile() -> None:
    """Compile all kernels, or find them compiled."""
    volume = np.zeros((70, 4, 4), np.uint8, order="F")
    volume[1:3, 1:3, 1:3] = 1
    spacing_mm = (1.0, 1.0, 1.0)
    label = Label(1, "any", 1.0)
    measure_labels(
        volume,
        volume,
        [label],
        area_spacing_mm=spacing_mm,
        distance_spacing_mm=spacing_mm,
        crop=[False],
        threads=1,
    )
    runs = find_runs(volume.T, np.ones(LABELS, np.bool_), map, 1).of(1)
    measure_distances(runs, runs, spacing_mm=spacing_mm, area_spacing_mm=spacing_mm)


if __name__ == "__main__":
    began = time.monotonic()
    precompile()
    sys.stderr.write(f"kernels ready after {time.monotonic() - began:.1f} s\n")
