"""Tumours: in the organs where they are common, and a few elsewhere in the abdomen."""

from __future__ import annotations

import numpy as np

from harness.data.phantom.canvas import Canvas
from harness.data.phantom.patient import ORGANS, TUMOUR, Patient
from harness.data.phantom.shapes import Ellipsoid, rotation
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
_SPARED = (ORGANS["aorta"], ORGANS["inferior vena cava"])
_MOST_IN_LIVER = 4


def paint_tumours(canvas: Canvas, patient: Patient, trunk: Trunk) -> list[dict[str, object]]:
    """Paint this patient's tumours and return the site and radius of each."""
    rng = patient.rng
    tumours: list[dict[str, object]] = []
    for organ, share, smallest_mm, largest_mm in _SITES:
        count = int(rng.integers(1, _MOST_IN_LIVER)) if organ == "liver" else 1
        present = rng.random() < share
        for _ in range(count if present else 0):
            radius_mm = float(np.exp(rng.uniform(np.log(smallest_mm), np.log(largest_mm))))
            if _paint_tumour(canvas, patient, trunk, organ, radius_mm):
                tumours.append({"organ": organ or "mesentery", "radius_mm": round(radius_mm, 1)})
    return tumours


def _paint_tumour(canvas: Canvas, patient: Patient, trunk: Trunk, organ: str, radius_mm: float) -> bool:
    rng = patient.rng
    host = ORGANS.get(organ, 0)
    candidates = np.flatnonzero(
        canvas.label == host if organ else trunk.below & (canvas.label == 0) & (trunk.cavity < -20)
    )
    place, squeeze, turn_deg = float(rng.random()), rng.normal(0, 0.18, 3), float(rng.uniform(0, 180))
    contrast, brighter, necrotic = float(rng.uniform(20, 55)), rng.random() < 0.15, rng.random() < 0.55
    core_hu, offset = float(rng.uniform(8, 28)), float(rng.uniform(0, 300))
    if len(candidates) == 0:
        return False
    index = np.unravel_index(candidates[int(place * len(candidates))], canvas.shape)
    centre = np.array([float(axis[index]) for axis in canvas.points])
    shape = Ellipsoid(centre, radius_mm * np.exp(squeeze), rotation(z_deg=turn_deg))
    box = canvas.box(shape, margin_mm=12)
    field = canvas.field(shape, box) + 0.13 * radius_mm * canvas.noise(11.0, box, offset_mm=offset)
    label = canvas.label[box]
    inside = (field < 0) & trunk.below[box] & ((label == 0) | (label == host)) & ~np.isin(label, _SPARED)
    if not inside.any():
        return False
    if not organ:
        hu = float(rng.uniform(28, 70)) + (0.0 if patient.phase.name == "native" else 15.0)
    else:
        healthy = float(np.median(canvas.hu[box][inside]))
        weaker = 0.6 if patient.phase.name == "native" else 1.0
        hu = healthy + weaker * (contrast if brighter else -contrast)
    texture = canvas.noise(6.0, box, offset_mm=offset)
    canvas.paint(box, inside, hu + 6 * texture, TUMOUR)
    if necrotic and radius_mm > 12:
        canvas.paint(box, inside & (field < -0.4 * radius_mm), core_hu + 4 * texture)
    return True
