"""Two tiny cases for the cascade's training, and a schedule and a plan that fit them."""

from __future__ import annotations

import numpy as np
from cascade.plan import CascadePlan, LocationPlan, OrgansPlan
from cascade.train.cases import prepare_cases
from cascade.train.schedule import Schedule

from .conftest import make_body_hu, write_flipped

SCHEDULE = Schedule(
    iterations=2,
    batch=1,
    learning_rate=1e-3,
    lowest_learning_rate=1e-5,
    weight_decay=0.0,
    validate_every=1,
    validation_patches=1,
    by_label=True,
)
PLAN = CascadePlan(
    location=LocationPlan(size=(64, 64, 64)),
    organs=OrgansPlan(spacing_mm=(4.0, 4.0, 4.0), patch=(32, 32, 32), margin_mm=8.0),
)


def make_data(folder):
    """Two cases with two organs and a lesion, stored flipped."""
    for number in range(2):
        array = make_body_hu((20, 40, 40), seed=number)
        labels = np.zeros(array.shape, dtype=np.uint8)
        labels[4:16, 10:20, 10:18] = 1
        labels[6:10, 22:30, 20:28] = 13
        labels[8:10, 12:15, 12:15] = 14
        array[labels > 0] += 200
        write_flipped(folder / f"imagesTr/case{number}_0000.nii.gz", array, (4.0, 4.0, 6.0))
        write_flipped(folder / f"labelsTr/case{number}.nii.gz", labels, (4.0, 4.0, 6.0))
    return folder


def prepared(data, tmp_path, phase, plan=PLAN):
    return prepare_cases(data, data / "labelsTr", tmp_path / phase, plan, phase)
