"""The thirteen organs; the first to be painted keep their place."""

from __future__ import annotations

from functools import partial

import numpy as np

from harness.data.phantom.canvas import VESSEL
from harness.data.phantom.liver import paint_liver
from harness.data.phantom.patient import FAT_HU, ORGANS
from harness.data.phantom.shapes import Blend, Ellipsoid, Tube, Vector, rotation
from harness.data.phantom.stomach import Stomach, draw_stomach, paint_esophagus, paint_stomach
from harness.data.phantom.surgeon import Surgeon
from harness.data.phantom.vessels import paint_great_vessels, paint_visceral_vessels


def paint_organs(surgeon: Surgeon) -> None:
    """Paint organs and vessels; later ones give way to earlier ones unless said otherwise."""
    _adrenals(surgeon, paint_great_vessels(surgeon))
    for side, name in ((1, "right kidney"), (-1, "left kidney")):
        _kidney(surgeon, side, name)
    stomach = draw_stomach(surgeon.patient)
    splenic = paint_visceral_vessels(surgeon, stomach)
    _pancreas(surgeon, splenic, stomach)
    _gallbladder(surgeon)
    _duodenum(surgeon)
    paint_liver(surgeon)
    _spleen(surgeon)
    paint_stomach(surgeon, stomach)
    paint_esophagus(surgeon, stomach)


def _spleen(surgeon: Surgeon) -> None:
    patient, canvas, trunk = surgeon.patient, surgeon.canvas, surgeon.trunk
    if "spleen" in patient.missing:
        return
    rng, at = patient.rng, patient.at
    size, tall = 0.84 * patient.scale * patient.vary(0.18), patient.vary(0.12)
    # It follows the wall from beside the spine to the flank, in some patients more than in others.
    back, front = float(rng.uniform(0.5, 2.0)), float(rng.uniform(0.3, 1.0))
    rise = 56 + 0.5 * (patient.dome_mm / patient.scale - 118)
    centre = at(-98, -6, rise, spread_mm=3, organ="spleen")
    turn = rotation(x_deg=-15 + float(rng.normal(0, 12)), z_deg=-25)
    shape = Blend(
        (
            Ellipsoid(centre, np.array((26, 42, 48 * tall)) * size, turn),
            Ellipsoid(
                centre + np.array((30 * back, -20, 9)) * size, np.array((27 * back, 22, 38 * tall)) * size
            ),
            Ellipsoid(centre + np.array((-2, 34 * front, -12)) * size, np.array((20, 27, 34 * tall)) * size),
        ),
        blend_mm=14,
    )
    box, field = surgeon.inside(shape, roughness_mm=1.4, margin_mm=13)
    surgeon.fill_dome(box, field, 9.0)
    hollow = centre + np.array((46 + float(rng.normal(0, 6)), 30, -4)) * size
    hilum = canvas.field(Ellipsoid(hollow, np.array((34, 40, 56)) * size), box)
    inside = (np.maximum(field, -hilum) < 0) & (trunk.cavity[box] < 0) & (trunk.diaphragm_mm[box] < 0)
    inside &= canvas.owner[box] == 0
    surgeon.paint(box, inside, patient.phase.spleen, "spleen")
    if patient.phase.name == "arterial":  # the moire pattern of the red pulp
        canvas.paint(box, inside, patient.phase.spleen + 25 * canvas.noise(11.0, box, offset_mm=66.0))
    surgeon.hold(box, np.maximum(field, -hilum), 2.0, "spleen")


def _kidney(surgeon: Surgeon, side: int, name: str) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    if name in patient.missing:
        return
    rng, s, phase = patient.rng, patient.scale, patient.phase
    # A single kidney is larger than one of two.
    grown = 1.15 if {"right kidney", "left kidney"} & patient.missing else 1.0
    size = s * patient.vary(0.07) * grown
    centre = patient.at(60 * side, -9, -10 if side > 0 else 0, spread_mm=3, organ=name)
    turn = rotation(
        x_deg=float(rng.normal(0, 8)),
        y_deg=(-13 + float(rng.normal(0, 8))) * side,
        z_deg=(25 + float(rng.normal(0, 18))) * side,
    )
    radii = np.array((27.5 * patient.vary(0.09), 30 * patient.vary(0.09), 55 * patient.vary(0.09))) * size
    box, field = surgeon.inside(Ellipsoid(centre, radii, turn))
    sinus = canvas.field(
        Ellipsoid(centre + np.array((-side * 17, 9, 0)) * s, np.array((19, 13, 26)) * size, turn), box
    )
    free = surgeon.free(box)
    pyramids = (field < -8) & (canvas.noise(11.0, box, offset_mm=90.0) > -0.4)
    parenchyma = np.where(pyramids, phase.medulla, phase.cortex) + 4 * canvas.noise(6.0, box)
    canvas.paint(box, (field < 0) & (sinus > 0) & free, parenchyma, ORGANS[name])
    canvas.paint(box, (sinus < 0) & (field < 2) & free, FAT_HU)
    surgeon.hold(box, field, 3.0 + 3.5 * patient.fat, name)
    urine = 260.0 if phase.name == "delayed" else 14.0
    pelvis = Tube(
        (centre + np.array((-side * 8, 7, 2)) * s, centre + np.array((-side * 24, 10, -22)) * s), (6, 3.5)
    )
    part, drain = surgeon.inside(pelvis, roughness_mm=0.5)
    own = surgeon.free(part, over=(name,)) & (canvas.label[part] == 0)
    canvas.paint(part, (drain < 0) & own, urine)
    if rng.random() < 0.22:  # a simple cyst, which is no kidney
        edge = centre + turn @ (radii * rng.choice((-1, 1), 3) * (0.7, 0.6, 0.3))
        part, cyst = surgeon.inside(Ellipsoid(edge, np.full(3, 11 * patient.vary(0.35))), roughness_mm=0.5)
        mask = (cyst < 0) & surgeon.free(part, over=(name,))
        canvas.paint(part, mask, 8.0)
        canvas.label[part][mask] = 0
    vein = Tube(
        (centre + np.array((-side * 18, 12, 4)) * s, patient.at(18 if side > 0 else -8, 27, 4)), (4.5, 4)
    )
    part, field = surgeon.inside(vein, roughness_mm=0.3)
    course = (field < 0) & surgeon.free(part, over=(name,)) & (canvas.label[part] == 0)
    # Blood that leaves the kidney is brighter than that of the legs.
    canvas.paint(part, course, 0.5 * phase.cava + 0.5 * phase.portal)
    canvas.owner[part][course] = VESSEL
    artery = Tube((patient.at(-9, 26, 6), centre + np.array((-side * 20, 10, 6)) * s), (2.9, 2.4))
    surgeon.vessel(artery, phase.aorta, over=(name,))


def _pancreas(surgeon: Surgeon, splenic: Tube, stomach: Stomach) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at = patient.rng, partial(patient.at, organ="pancreas")
    size = 1.04 * patient.scale * patient.vary(0.14)
    # From a short gland that climbs to a long one across the whole upper abdomen.
    long, rise = float(rng.uniform(0.3, 0.97)), float(rng.uniform(14, 62))
    head = float(rng.normal(0, 6))
    path = (
        at(33, 50, -14 + head, spread_mm=4),
        at(31, 55, 8 + head, spread_mm=4),
        at(6, 61, 20, spread_mm=4),
        stomach.clear(at(8 - 46 * long, 50, 20 + 0.4 * rise, spread_mm=6), 10 * size),
        stomach.clear(at(8 - 88 * long, 50 - 36 * long, 20 + rise, spread_mm=6), 10 * size),
    )
    radii = tuple(r * size * patient.vary(0.12) for r in (11.5, 13.5, 8.8, 10, 9.6))
    box, field = surgeon.inside(Tube(path, radii), roughness_mm=1.6, grain_mm=11.0)
    lobules = canvas.noise(6.0, box, offset_mm=44.0)
    inside = (field + 1.3 * lobules < 0) & surgeon.free(box) & (canvas.field(splenic, box) > 0)
    fatty = lobules > 2.2 - 0.5 * patient.fat
    hu = np.where(fatty, FAT_HU * 0.4, patient.phase.pancreas + 5 * lobules)
    canvas.paint(box, inside, hu, ORGANS["pancreas"])
    surgeon.hold(box, field, 2.0, "pancreas")


def _duodenum(surgeon: Surgeon) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at = patient.rng, partial(patient.at, organ="duodenum")
    size = patient.scale * patient.vary(0.14)
    # The lower part crosses the spine at once, or turns up beside it.
    low, cross = float(rng.normal(-24, 9)), float(rng.uniform(-32, 30))
    path = (
        at(28, 76, 26, spread_mm=4),
        at(46, 62, 28, spread_mm=6),
        at(53, 44, 4, spread_mm=6),
        at(50, 36, low, spread_mm=5),
        at(0.5 * (46 + cross), 42, low - 8, spread_mm=4),
        at(cross, 47, low + 14, spread_mm=5),
    )
    radii = tuple(r * size for r in (10, 10.5, 11, 11, 10, 9.5))
    box, field = surgeon.inside(Tube(path, radii), roughness_mm=1.4, grain_mm=11.0)
    inside = (field < 0) & surgeon.free(box)
    surgeon.paint(box, inside, patient.phase.bowel_wall, "duodenum", grain=6)
    surgeon.hold(box, field, 1.2, "duodenum")
    coarse = canvas.noise(11.0, box, offset_mm=88.0)
    lumen = inside & (field < -3.5)
    canvas.paint(box, lumen & (coarse < 0), 20.0 if patient.oral_hu is None else 0.8 * patient.oral_hu)
    canvas.paint(box, lumen & (coarse > 1.2), -900.0)


def _gallbladder(surgeon: Surgeon) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    if "gallbladder" in patient.missing:
        return
    rng = patient.rng
    size = patient.scale * patient.vary(0.22)
    shape = Ellipsoid(
        patient.at(59, 67, 16, spread_mm=3, organ="gallbladder"),
        np.array((15 * patient.vary(0.15), 16 * patient.vary(0.15), 37 * patient.vary(0.25))) * size,
        rotation(x_deg=35 + float(rng.normal(0, 35)), y_deg=float(rng.normal(35, 50))),
    )
    box, field = surgeon.inside(shape, roughness_mm=0.7)
    inside = (field < 0) & surgeon.free(box)
    surgeon.paint(box, inside, float(patient.rng.uniform(2, 18)), "gallbladder", grain=2)
    surgeon.hold(box, field, 1.2, "gallbladder")
    canvas.paint(box, inside & (field > -1.6), 0.5 * patient.phase.bowel_wall)
    if patient.rng.random() < 0.12:
        stones = inside & (canvas.noise(6.0, box, offset_mm=71.0) > 1.2) & (field < -6)
        canvas.paint(box, stones, 220.0)


def _adrenals(surgeon: Surgeon, vessels_mm: tuple[float, float]) -> None:
    patient = surgeon.patient
    for name, side, home, x_mm, vessel_mm in (
        ("right adrenal gland", 1, (32, 17, 42), 22, vessels_mm[1]),
        ("left adrenal gland", -1, (-33, 25, 34), -9, vessels_mm[0]),
    ):
        if name in patient.missing:
            continue
        thick, tall = 3.4 * patient.vary(0.15), 14.5 * patient.vary(0.18)
        body = patient.at(*home, spread_mm=2.5, organ=name)
        # Beside its great vessel, not in it.
        body[0] = side * max(side * body[0], side * x_mm * patient.scale + vessel_mm + 2.0)
        spread = float(patient.rng.uniform(12, 40))
        limbs = Blend(
            (
                Tube((body + np.array((0, 8, 14)), body + np.array((0, 1, -9))), (0.8 * thick, thick)),
                # Two thin leaves that part to the back, as an inverted Y in the axial plane.
                _leaf(body, side * spread, (0.78 * thick, 12.0, tall)),
                _leaf(body, side * (spread - 45), (0.78 * thick, 11.0, 0.9 * tall)),
            ),
            blend_mm=2.5,
        )
        box, field = surgeon.inside(limbs, roughness_mm=0.4, grain_mm=11.0)
        surgeon.paint(box, (field < 0) & surgeon.free(box), patient.phase.adrenal, name)
        surgeon.hold(box, field, 1.8, name)


def _leaf(body: Vector, z_deg: float, radii_mm: tuple[float, float, float]) -> Ellipsoid:
    """Return one limb of an adrenal gland, which leaves its body to the back."""
    turn = rotation(z_deg=z_deg)
    return Ellipsoid(body - 8.5 * turn[:, 1], np.array(radii_mm), turn)
