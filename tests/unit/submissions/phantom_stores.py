"""Small stores of volumes, and how they are shown."""

from __future__ import annotations

import numpy as np
import torch
from segkit.plan import Intensity
from segkit.training.phantoms.render import Rendering
from segkit.training.phantoms.store import write_volume

WINDOW = {"clip_low_hu": -200, "clip_high_hu": 300, "mean_hu": 40, "std_hu": 60}
CPU = torch.device("cpu")


def make_arrays(shape=(24, 40, 44)):
    """A body in air; organ 1 on the patient's right (low x), organ 2 on his left."""
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[:, 6:-6, 6:-6] = -100
    labels = np.zeros(shape, dtype=np.uint8)
    labels[6:18, 12:28, 8:16] = 1
    labels[6:18, 12:28, 28:36] = 2
    hu[labels == 1], hu[labels == 2] = 60, 120
    return hu, labels


def make_store(folder):
    """Three volumes of 3 x 2 x 2 mm."""
    folder.mkdir()
    hu, labels = make_arrays()
    for number in range(3):
        write_volume(
            folder / f"case{number}.safetensors",
            hu + number,
            labels,
            (3.0, 2.0, 2.0),
            kind="phantom",
            facts={"generator": 2},
        )
    return folder


def rendering(**changes):
    return Rendering(
        **{"patch": (16, 24, 24), "spacing_mm": (3.0, 2.0, 2.0), "window": Intensity(**WINDOW), **changes}
    )
