"""The liver and the vessels in it."""

from __future__ import annotations

import numpy as np

from harness.data.phantom.patient import FAT_HU, ORGANS
from harness.data.phantom.shapes import Blend, Ellipsoid, Tube, Vector, rotation
from harness.data.phantom.surgeon import Surgeon


def paint_liver(surgeon: Surgeon) -> None:
    """Paint the liver: four lobes that fill the diaphragm's right dome."""
    canvas, patient, trunk = surgeon.canvas, surgeon.patient, surgeon.trunk
    rng, at, phase = patient.rng, patient.at, patient.phase
    size = 1.07 * patient.scale * patient.vary(0.09)
    left, wide, tall = patient.vary(0.3), patient.vary(0.13), patient.vary(0.16)
    lift = patient.dome_mm / patient.scale - 118  # the liver fills the dome
    reach = float(rng.uniform(-40, 12))  # of the lower right edge, up to a Riedel lobe
    shape = Blend(
        (
            Ellipsoid(
                at(78, 28, 58, spread_mm=4, organ="liver") + np.array((0, 0, 0.5 * lift)),
                np.array((59 * wide, 80, (60 + 0.4 * lift) * tall)) * size,
                rotation(y_deg=float(rng.normal(0, 8)), z_deg=float(rng.normal(0, 8))),
            ),
            Ellipsoid(
                at(10, 78, 70 + 0.6 * lift, spread_mm=7, organ="liver"),
                np.array((66 * left, 32 * patient.vary(0.15), 29 * tall)) * size,
                rotation(y_deg=-8 + float(rng.normal(0, 10))),
            ),
            Ellipsoid(
                at(104, 20, 2 + reach, spread_mm=6, organ="liver"),
                np.array((27, 48, 46 * tall)) * size,
                rotation(y_deg=8),
            ),
            # The caudate lobe, in front of the cava.
            Ellipsoid(at(17, 50, 66, spread_mm=4, organ="liver"), np.array((17, 13, 24)) * size),
        ),
        blend_mm=22,
    )
    box, field = surgeon.inside(shape, roughness_mm=1.6, margin_mm=30)
    surgeon.fill_dome(box, field, 26.0)
    hollow = canvas.field(
        Ellipsoid(at(40, 24, -10, spread_mm=8), np.array((44, 46, 42)) * patient.scale), box
    )
    field = np.maximum(field, -hollow - 2)
    x, y = canvas.points[0][box], canvas.points[1][box]
    spared = np.hypot(x + 10, y - 28) > 19 * patient.scale
    inside = (
        (field < 0) & (trunk.cavity[box] < -1) & (trunk.diaphragm_mm[box] < 0) & (trunk.vertebra[box] > 9)
    )
    liver = inside & spared & (canvas.owner[box] == 0) & ~surgeon.behind(box, "right kidney")
    surgeon.paint(box, liver, phase.liver, "liver")
    surgeon.hold(box, field, 1.5, "liver")
    _liver_vessels(surgeon)
    # The fissure of the falciform ligament.
    part, fissure = surgeon.inside(
        Ellipsoid(at(18, 92, 40, spread_mm=5, organ="liver"), np.array((2.2, 26, 30)))
    )
    slit = (fissure < 0) & (canvas.label[part] == ORGANS["liver"])
    canvas.paint(part, slit, FAT_HU * 0.7)
    canvas.label[part][slit] = 0


def _liver_vessels(surgeon: Surgeon) -> None:
    """Paint the portal tree from the hilum, and the three veins that drain into the cava."""
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at, phase = patient.rng, patient.at, patient.phase

    def vessel(path: tuple[Vector, ...], radii: tuple[float, ...], blood: float) -> None:
        box, field = surgeon.inside(Tube(path, radii), roughness_mm=0.5, margin_mm=3.0)
        canvas.paint(box, (field < 0) & (canvas.label[box] == ORGANS["liver"]), blood)

    hilum = at(35, 48, 34, spread_mm=4)
    right = at(70, 38, 44, spread_mm=7, organ="liver")
    left = at(10, 70, 58, spread_mm=7, organ="liver")
    vessel((hilum, right), (6.5, 5.0), phase.portal)
    vessel((hilum, left), (5.5, 4.0), phase.portal)
    for number in range(int(rng.integers(9, 15))):
        start, aim = (right, (0.5, 0.0, 0.15)) if number % 3 else (left, (-0.5, 0.35, 0.1))
        way = rng.normal(0, 1, 3) * (0.8, 0.9, 0.8) + aim
        way /= np.linalg.norm(way)
        middle = start + 28 * way + rng.normal(0, 5, 3)
        vessel((start, middle, start + 60 * way + rng.normal(0, 12, 3)), (3.6, 2.7, 1.2), phase.portal)
    drained = 0.93 * phase.portal if phase.name != "arterial" else phase.liver
    confluence = at(23, 42, 102)
    for place in ((98, 18, 62), (66, 66, 66), (-6, 84, 74)):
        target = at(*place, spread_mm=10, organ="liver")
        middle = 0.5 * (confluence + target) + rng.normal(0, 5, 3)
        vessel((confluence, middle, target), (5.2, 4.2, 2.0), drained)
        for _ in range(2):
            tip = target + rng.normal(0, 17, 3)
            vessel((middle, 0.5 * (middle + tip) + rng.normal(0, 5, 3), tip), (2.8, 2.3, 1.2), drained)
