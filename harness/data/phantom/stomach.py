"""The stomach, what is in it, and the esophagus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from harness.data.phantom.canvas import Box, Mask
from harness.data.phantom.patient import ORGANS, Patient
from harness.data.phantom.shapes import Tube, Vector
from harness.data.phantom.surgeon import GAS_HU, Surgeon


@dataclass(frozen=True)
class Stomach:
    """The stomach's course from the fundus to the pylorus, and its radius at each point."""

    path: tuple[Vector, ...]
    radii: tuple[float, ...]
    collapsed: bool

    def clear(self, place: Vector, radius_mm: float) -> Vector:
        """Return a place moved behind and below the stomach as far as something of that size needs."""
        for middle, own_mm in zip(self.path[:-1], self.radii[:-1], strict=True):
            way = place - middle
            lack = 0.95 * (own_mm + radius_mm) - float(np.linalg.norm(way))
            if lack > 0:
                place = place + lack * np.array((0.0, -0.75, -0.66))
        return place


def draw_stomach(patient: Patient) -> Stomach:
    """Draw place, size and filling of a patient's stomach."""
    rng, at = patient.rng, partial(patient.at, organ="stomach")
    size = patient.scale * patient.vary(0.12)
    collapsed = rng.random() < 0.3
    fill = float(rng.uniform(0.45, 0.6) if collapsed else rng.uniform(0.6, 1.38))
    path = (
        at(-54, 24, 96 + 0.8 * (patient.dome_mm / patient.scale - 118), spread_mm=5),
        at(-64, 52, 70, spread_mm=6),
        at(-46, 76, 36 + float(rng.normal(0, 17)), spread_mm=8),
        at(-8, 82, 22, spread_mm=8),
        patient.at(26, 73, 18, spread_mm=5, organ="duodenum"),
    )
    radii = tuple(r * size * (fill if r > 12 else 1.0) for r in (35, 32, 27, 20, 9))
    return Stomach(path, radii, collapsed)


def paint_stomach(surgeon: Surgeon, stomach: Stomach) -> None:
    """Paint the stomach and what is in it."""
    patient = surgeon.patient
    tube = Tube(stomach.path, stomach.radii, blend_mm=14)
    box, field = surgeon.inside(tube, roughness_mm=2.0, margin_mm=16)
    surgeon.fill_dome(box, field, 3.0 if stomach.collapsed else 12.0)
    organ = (field < 0) & surgeon.free(box)
    surgeon.paint(box, organ, patient.phase.bowel_wall + 6, "stomach", grain=6)
    surgeon.hold(box, field, 1.5, "stomach")
    lumen = organ & (field < -float(patient.rng.uniform(2.5, 5.5)) * patient.scale)
    _fill_stomach(surgeon, box, lumen, stomach)


def paint_esophagus(surgeon: Surgeon, stomach: Stomach) -> None:
    """Paint the esophagus from the neck to the stomach."""
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at = patient.rng, patient.at
    # Where the esophagus comes through the diaphragm, in front of the aorta, it turns to the stomach.
    cardia = at(-17, 46, 100, spread_mm=3) + 0.3 * patient.moved_mm["stomach"]
    high, low = at(-4, 18, 240), at(-13, 42, 118, spread_mm=3)
    radii = [r * patient.vary(0.12) for r in (7.5, 8, 8.6, 8.6, 8.8, 8.5)]
    # Two pieces, since most scans show the lower one alone.
    upper = Tube((at(0, 12, 350), high), (radii[0], radii[1]))
    lower = Tube(
        (high, at(-8, 35, 142, spread_mm=3), low, cardia, 0.75 * cardia + 0.25 * stomach.path[0]),
        tuple(radii[1:]),
    )
    for piece in (upper, lower):
        box, field = surgeon.inside(piece, roughness_mm=0.9, grain_mm=11.0)
        tube = (field < 0) & np.isin(canvas.owner[box], (0, ORGANS["liver"], ORGANS["stomach"]))
        tube &= canvas.label[box] != ORGANS["stomach"]
        surgeon.paint(box, tube, patient.phase.bowel_wall, "esophagus")
    if rng.random() < 0.5:
        air = (field < -5.0) & tube & (canvas.noise(23.0, box, offset_mm=12.0) > 0.3)
        canvas.paint(box, air, -700.0)


def _fill_stomach(surgeon: Surgeon, box: Box, lumen: Mask, stomach: Stomach) -> None:
    """Paint fluid, food or gas, a third of the patients each; gas rises to the front."""
    canvas, patient = surgeon.canvas, surgeon.patient
    rng = patient.rng
    coarse, fine = canvas.noise(11.0, box, offset_mm=33.0), canvas.noise(6.0, box, offset_mm=80.0)
    kind = int(rng.integers(0, 3))
    fluid, chyme, bubbles = (
        float(rng.uniform(0, 30)),
        float(rng.uniform(25, 95)),
        float(rng.uniform(1.2, 2.6)),
    )
    gas = float((rng.uniform(0.85, 1.0), rng.uniform(0.75, 1.0), rng.uniform(0.2, 0.7))[kind])
    if patient.oral_hu is not None:
        contents = patient.oral_hu + 12 * coarse
    elif kind == 1:
        contents = chyme + 22 * coarse + 14 * fine - 600 * np.clip(fine - bubbles, 0, 1)
    else:
        contents = fluid + 5 * coarse
    canvas.paint(box, lumen, np.asarray(contents, np.float32))
    # The patient lies on the back: gas over a level surface.
    ends = [(point[1], radius) for point, radius in zip(stomach.path, stomach.radii, strict=True)]
    back, front = min(y - radius for y, radius in ends), max(y + radius for y, radius in ends)
    height = canvas.axes_mm[1][box[1]][None, :, None]
    canvas.paint(box, lumen & (height > back + gas * (front - back)), GAS_HU)
