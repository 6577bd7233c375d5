"""Score pairs with exacta, in an environment of its own, for test_evaluator_peers.py.

Each line of standard input is a JSON object with `task`, `reference`, `prediction` and `tolerances_mm`; each
line of standard output is one with the CPU seconds, reading included, and the scores.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import exacta.functional
import exacta.lesions
import nibabel
import numpy as np


def surfaces(pair: tuple[np.ndarray, np.ndarray], spacing: tuple[float, ...], tolerances: list[float]) -> Any:
    """Dice, NSD, HD95 and ASSD of every label, surfaces by area."""
    reference, prediction = pair
    return exacta.functional.evaluate(
        prediction,
        reference,
        num_classes=len(tolerances) + 1,
        include_background=False,
        spacing=spacing,
        metrics={
            "dice": {},
            "nsd": {"tolerance": tolerances, "surface": "surfels"},
            "hd95": {"surface": "surfels"},
            "assd": {"surface": "surfels"},
        },
    )


def lesions(pair: tuple[np.ndarray, np.ndarray], spacing: tuple[float, ...], _: list[float]) -> Any:
    """F1, panoptic quality, Dice and HD95 of the lesions of label 1, matched one to one by IoU."""
    reference, prediction = pair
    return vars(
        exacta.lesions.evaluate(
            prediction,
            reference,
            num_classes=2,
            include_background=False,
            matching="greedy",
            connectivity=3,
            threshold=1e-6,
            spacing=spacing,
            surface="surfels",
            missed_distance=0.0,
        )
    )


def brats2023(pair: tuple[np.ndarray, np.ndarray], spacing: tuple[float, ...], _: list[float]) -> Any:
    """The lesion-wise scores of label 1 by the rules of BraTS 2023."""
    reference, prediction = pair
    return vars(
        exacta.lesions.brats2023(
            prediction,
            reference,
            challenge="GLI",
            input_format="index",
            num_classes=2,
            include_background=False,
            spacing=spacing,
        )
    )


TASKS = {"surfaces": surfaces, "lesions": lesions, "brats2023": brats2023}


def read(path: str) -> tuple[np.ndarray, tuple[float, ...]]:
    image = nibabel.load(path)
    # As the evaluator's exact profile: 0.8 mm as float32 stores it would cost elements at the tolerance.
    spacing = tuple(round(float(size), 5) for size in image.header.get_zooms())
    return np.asanyarray(image.dataobj)[None], spacing


def main() -> None:
    for line in sys.stdin:
        wanted = json.loads(line)
        began = time.process_time()
        (reference, spacing), (prediction, _) = read(wanted["reference"]), read(wanted["prediction"])
        scores = TASKS[wanted["task"]]((reference, prediction), spacing, wanted["tolerances_mm"])
        cpu_seconds = time.process_time() - began
        rows = {key: np.asarray(value)[0].tolist() for key, value in scores.items()}
        print(json.dumps({"cpu_seconds": cpu_seconds, "scores": rows}), flush=True)


if __name__ == "__main__":
    main()
