"""Two tiny cases for trainings by nnU-Net, and how they are trained on."""

from __future__ import annotations

import numpy as np
from segkit.training import Options, Task

from .conftest import make_body_hu, write_flipped
from .nnunet_files import plain_unet

ORGAN, TUMOUR = 3, 14
TASK = Task("block", ("background", "block"), {TUMOUR: 1})
EPOCHS = {"epochs": 1, "learning_rate": 0.01, "iterations_per_epoch": 2, "validation_iterations_per_epoch": 1}
SPATIAL = {"spacing": [4.0, 4.0, 4.0], "patch_size": [16, 16, 16], "batch_size": 1}


def make_data(folder):
    """Two cases with an organ and a tumour, stored flipped."""
    for number in range(2):
        array = make_body_hu((16, 32, 32), seed=number)
        labels = np.zeros(array.shape, dtype=np.uint8)
        labels[4:12, 8:24, 8:24] = ORGAN
        labels[6:10, 10:20, 10 + number : 20 + number] = TUMOUR
        array[labels == TUMOUR] += 300
        write(folder / f"imagesTr/case{number}_0000.nii.gz", array)
        write(folder / f"labelsTr/case{number}.nii.gz", labels)
    return folder


def write(path, array):
    write_flipped(path, array, (2.0, 2.0, 3.0))


def plain_network():
    return plain_unet([4, 8, 8], convs=[1, 1, 1], convs_decoder=[1, 1])


def options(tmp_path, name="work", **changes):
    return Options(work=tmp_path / name, threads=1, device="cpu", **changes)
