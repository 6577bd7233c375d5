"""A real patient's organs lie among those of the phantoms: no place, extent or size is out of their reach."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.data.phantom import make_case
from harness.data.phantom.patient import ORGANS

REAL = Path(__file__).parents[4] / "shared" / "data" / "labels" / "labelsVal" / "amos_0013.nii.gz"
PATIENTS = 28
SHAPE = (64, 64, 56)
KIDNEYS = ("right kidney", "left kidney")
VESSELS = ("aorta", "inferior vena cava")
QUANTITIES = ("right", "front", "up", "width", "depth", "height", "size")
SECTION_MM = 15.0
"""Of what no scan shows whole: the vessels up and down from the kidneys' middle, the end of the esophagus."""

Geometry = dict[tuple[str, str], float]


def geometry(label: np.ndarray, affine: np.ndarray, *, cut_mm: float = 0.0) -> Geometry:
    """Place against the middle of both kidneys and standard deviation in mm; log of the volume in ml.

    Organs that the scan cuts are left out, but for those of which at most `cut_mm` touch its end; nothing is
    left of a patient of whom a kidney is cut or absent.
    """
    found = np.argwhere(label)
    values, points = label[tuple(found.T)], found @ affine[:3, :3].T + affine[:3, 3]
    places = {organ: points[values == value] for organ, value in ORGANS.items() if np.any(values == value)}
    ends = [affine[2, 3] + affine[2, 2] * index for index in (0, label.shape[2] - 1)]
    low, high = min(ends) + 0.1 - cut_mm, max(ends) - 0.1 + cut_mm
    whole = {organ for organ, place in places.items() if low < place[:, 2].min() and place[:, 2].max() < high}
    if not whole.issuperset(KIDNEYS):
        return {}
    middle = np.mean([places[kidney].mean(0) for kidney in KIDNEYS], axis=0)
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    result: Geometry = {}
    for organ, place in places.items():
        numbers = [*(place.mean(0) - middle), *place.std(0), np.log(len(place) * voxel_ml)]
        if organ == "esophagus":
            place = place[place[:, 2] < place[:, 2].min() + SECTION_MM]
            numbers = [*(place.mean(0) - middle)]
        elif organ in VESSELS:
            place = place[np.abs(place[:, 2] - middle[2]) < SECTION_MM]
            numbers = [*(place.mean(0) - middle)[:2]] if len(place) else []
        elif organ not in whole:
            continue
        result |= {(organ, name): float(number) for name, number in zip(QUANTITIES, numbers, strict=False)}
    return result


@pytest.fixture(scope="module")
def phantoms() -> list[Geometry]:
    cases = (make_case(seed=11, index=i, split="Tr", shape=SHAPE) for i in range(1, PATIENTS + 1))
    return [geometry(case.label, case.affine) for case in cases]


@pytest.fixture(scope="module")
def real() -> Geometry:
    if not REAL.is_file():
        pytest.skip(f"THE REAL LABELS ARE MISSING, ANATOMY IS NOT COMPARED WITH A PATIENT'S: {REAL}")
    volume = nib.load(REAL)
    # The scan ends at the top of the liver, which is all but whole.
    return geometry(np.asanyarray(volume.dataobj), volume.affine, cut_mm=1.0)


def test_a_real_patient_lies_within_two_standard_deviations_of_the_phantoms(phantoms, real):
    assert {organ for organ, _ in real} == set(ORGANS)
    far = {}
    for key, number in real.items():
        values = [phantom[key] for phantom in phantoms if key in phantom]
        assert len(values) >= 10, key
        score = (number - np.mean(values)) / np.std(values, ddof=1)
        if abs(score) >= 1.5:
            print(key, round(score, 2), np.mean(values), np.std(values, ddof=1), len(values))
        if abs(score) >= 2:
            far[" ".join(key)] = round(float(score), 1)
    assert not far
