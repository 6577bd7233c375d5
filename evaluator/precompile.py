"""Compile the kernels ahead of their first use: `python -m evaluator.precompile`.

The first call of a kernel compiles it, which takes seconds; the result is kept on disk for every later run.
This belongs where a program is installed or an image is built, so that no user waits for it.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from evaluator.distances import GridSpacing
from evaluator.labels import Label, LabelTable
from evaluator.metrics import METRICS
from evaluator.pair import CasePair
from evaluator.scoring import Scoring


def precompile() -> None:
    """Compile all kernels, or find them compiled."""
    volume = np.zeros((70, 4, 4), np.uint8, order="F")
    volume[1:3, 1:3, 1:3] = 1
    spacing = GridSpacing(*3 * [(1.0, 1.0, 1.0)])
    scoring = Scoring(LabelTable("any", (Label(1, "any", 1.0),)), metrics=tuple(METRICS), threads=1)
    case = CasePair(volume, volume, scoring, spacing)
    for metric in METRICS.values():
        metric.of(case.labels[0] if metric.facts.scope == "label" else case)


if __name__ == "__main__":
    began = time.monotonic()
    precompile()
    sys.stderr.write(f"kernels ready after {time.monotonic() - began:.1f} s\n")
