"""Tumours: in the organs where they are common, and a few elsewhere in the abdomen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.data.phantom.canvas import Canvas
from harness.data.phantom.patient import ORGANS, TUMOUR, Patient
from harness.data.phantom.shapes import Ellipsoid, Vector, rotation
from harness.data.phantom.trunk import Trunk

_SITES: tuple[tuple[str, float, float, float], ...] = (
    # organ (empty: the mesentery), share of patients, smallest and largest radius in mm
    ("liver", 0.36, 6, 30),
    ("right kidney", 0.12, 8, 27),
    ("left kidney", 0.12, 8, 27),
    ("pancreas", 0.15, 7, 19),
    ("spleen", 0.05, 6, 18),
    ("stomach", 0.06, 8, 18),
    ("", 0.12, 8, 32),
)
_HOMES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    # Middle and radii of the ellipsoid that the middle of a tumour is drawn from, in mm of the average adult.
    "liver": ((82, 32, 52), (44, 56, 42)),
    "right kidney": ((70, -9, -12), (12, 20, 42)),
    "left kidney": ((-70, -9, 2), (12, 20, 42)),
    "pancreas": ((-6, 56, 14), (36, 8, 10)),
    "spleen": ((-110, -8, 58), (10, 26, 32)),
    "stomach": ((-50, 70, 32), (26, 26, 30)),
    "": ((0, 62, -60), (60, 28, 50)),
}
_MOST_IN_LIVER = 4


@dataclass(frozen=True)
class Tumour:
    """A tumour, and whether any voxel shows it."""

    organ: str
    radius_mm: float
    seen: bool


def paint_tumours(canvas: Canvas, patient: Patient, trunk: Trunk) -> list[Tumour]:
    """Paint this patient's tumours and return all of them, those outside of the canvas too."""
    rng = patient.rng
    tumours: list[Tumour] = []
    for organ, share, smallest_mm, largest_mm in _SITES:
        count = int(rng.integers(1, _MOST_IN_LIVER)) if organ == "liver" else 1
        present = rng.random() < share
        for _ in range(count if present else 0):
            radius_mm = float(np.exp(rng.uniform(np.log(smallest_mm), np.log(largest_mm))))
            seen = _paint_tumour(canvas, patient, trunk, organ, radius_mm)
            tumours.append(Tumour(organ, radius_mm, seen))
    return tumours


def _paint_tumour(canvas: Canvas, patient: Patient, trunk: Trunk, organ: str, radius_mm: float) -> bool:
    rng, phase = patient.rng, patient.phase
    host = ORGANS.get(organ, 0)
    centre = _place(patient, organ)
    squeeze, turn_deg = rng.normal(0, 0.18, 3), float(rng.uniform(0, 180))
    contrast, brighter, necrotic = float(rng.uniform(20, 55)), rng.random() < 0.15, rng.random() < 0.55
    core_hu, offset, solid_hu = (
        float(rng.uniform(8, 28)),
        float(rng.uniform(0, 300)),
        float(rng.uniform(28, 70)),
    )
    if organ in patient.missing:
        return False
    shape = Ellipsoid(centre, radius_mm * np.exp(squeeze), rotation(z_deg=turn_deg))
    box = canvas.box(shape, margin_mm=12)
    field = canvas.field(shape, box) + 0.13 * radius_mm * canvas.noise(11.0, box, offset_mm=offset)
    inside = (field < 0) & trunk.below[box] & np.isin(canvas.owner[box], (0, host))
    if not inside.any():
        return False
    healthy = {
        "liver": phase.liver,
        "spleen": phase.spleen,
        "pancreas": phase.pancreas,
        "stomach": phase.bowel_wall,
        "right kidney": 0.6 * phase.cortex + 0.4 * phase.medulla,
        "left kidney": 0.6 * phase.cortex + 0.4 * phase.medulla,
    }
    if not organ:
        hu = solid_hu + (0.0 if phase.name == "native" else 15.0)
    else:
        weaker = 0.6 if phase.name == "native" else 1.0
        hu = healthy[organ] + weaker * (contrast if brighter else -contrast)
    texture = canvas.noise(6.0, box, offset_mm=offset)
    canvas.paint(box, inside, hu + 6 * texture, TUMOUR)
    canvas.claim(box, field < 1.5, TUMOUR)
    if necrotic and radius_mm > 12:
        canvas.paint(box, inside & (field < -0.4 * radius_mm), core_hu + 4 * texture)
    return True


def _place(patient: Patient, organ: str) -> Vector:
    """Return where the middle of a tumour lies: a point of the patient, whatever grid it is painted on."""
    rng = patient.rng
    centre, radii = _HOMES[organ]
    way = rng.normal(0, 1, 3)
    way *= float(rng.random()) ** (1 / 3) / np.linalg.norm(way)
    return np.asarray(patient.at(*centre) + way * np.array(radii) * patient.scale)
