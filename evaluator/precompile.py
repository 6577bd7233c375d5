"""Compile the kernels ahead of their first use: `python -m evaluator.precompile`.

The first call of a kernel compiles it, which takes seconds; the result is kept on disk for every later run.
This belongs where a program is installed or an image is built, so that no user waits for it.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from evaluator.components import paint
from evaluator.distances import GridSpacing, measure_distances
from evaluator.labels import Label, LabelTable
from evaluator.metrics import METRICS
from evaluator.pair import CasePair
from evaluator.scoring import Scoring


def precompile() -> None:
    """Compile all kernels, or find them compiled."""
    volume = np.zeros((70, 4, 4), np.uint8, order="F")
    volume[1:3, 1:3, 1:3] = 1
    spacing = GridSpacing(*3 * [(1.0, 1.0, 1.0)])
    labels = LabelTable("any", (Label(1, "any", 1.0), Label(1001, "region", 1.0, parts=(1, 2))))
    # Skeletons are scikit-image's, which need not be there, and are no kernels.
    metrics = tuple(key for key, metric in METRICS.items() if "skeletons" not in metric.needs)
    for profile in ("exact", "monai", "brats2023-gli"):
        scoring = Scoring(labels, profile=profile, metrics=metrics, threads=1)
        case = CasePair(volume, volume, scoring, spacing)
        for key in metrics:
            for label in case.labels:
                METRICS[key].of(label if METRICS[key].facts.scope == "label" else case)
    runs = case.labels[0].reference_runs
    paint(runs, np.zeros(3, np.int64), (4, 4, 70))
    measure_distances(runs, runs, spacing, "voxels18")


if __name__ == "__main__":
    began = time.monotonic()
    precompile()
    sys.stderr.write(f"kernels ready after {time.monotonic() - began:.1f} s\n")
