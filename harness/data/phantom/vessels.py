"""Aorta, cava and the vessels of the abdomen outside of the liver."""

from __future__ import annotations

from harness.data.phantom.patient import ORGANS
from harness.data.phantom.shapes import Tube
from harness.data.phantom.stomach import Stomach
from harness.data.phantom.surgeon import Surgeon


def paint_great_vessels(surgeon: Surgeon) -> tuple[float, float]:
    """Paint aorta, cava and what they divide into; returns the radii of both in mm."""
    canvas, patient = surgeon.canvas, surgeon.patient
    at, s, phase = patient.at, patient.scale, patient.phase
    wide = 10.3 * s * patient.vary(0.18)
    aorta = Tube(
        (
            at(-14, 8, 232),
            at(-13, 21, 130, spread_mm=3),
            at(-10, 29, 60, spread_mm=4),
            at(-9, 30, 0, spread_mm=5),
            at(-5, 28, -78, spread_mm=5),
        ),
        tuple(w * wide for w in (1.2, 1.12, 1.03, 0.95, 0.85)),
    )
    arch = Tube(
        (at(2, 62, 196), at(10, 58, 238), at(-2, 40, 268), at(-15, 14, 258), at(-14, 8, 232)),
        tuple(w * wide for w in (1.45, 1.4, 1.3, 1.2, 1.2)),
    )
    box, field = surgeon.inside(arch, roughness_mm=0.5)
    surgeon.paint(box, field < 0, phase.aorta, "aorta", grain=3)
    box, field = surgeon.inside(aorta, roughness_mm=0.5)
    surgeon.paint(box, field < 0, phase.aorta, "aorta", grain=3)
    if patient.rng.random() < 0.45:  # calcified plaques, which belong to the aorta
        plaque = (field < 0) & (field > -2.2) & (canvas.noise(11.0, box, offset_mm=120.0) > 1.7)
        canvas.paint(box, plaque, 480.0)
    aorta_mm, wide = wide, 10.8 * s * patient.vary(0.22)
    cava = Tube(
        (
            at(16, 22, -88, spread_mm=3),
            at(19, 25, -20, spread_mm=5),
            at(22, 28, 45, spread_mm=4),
            at(24, 38, 88),
            at(20, 46, 122),
        ),
        (0.9 * wide, wide, wide, 1.15 * wide, 1.2 * wide),
        flat=float(patient.rng.uniform(1.0, 2.6)),
    )
    surgeon.hold(box, field, 1.2, "aorta")
    box, field = surgeon.inside(cava, roughness_mm=0.6)
    hu = phase.cava + 6 * canvas.noise(11.0, box, offset_mm=150.0)
    canvas.paint(box, (field < 0) & (canvas.label[box] != ORGANS["aorta"]), hu, ORGANS["inferior vena cava"])
    surgeon.hold(box, field, 0.8, "inferior vena cava")
    for side in (1, -1):
        artery = Tube((at(-5, 28, -80), at(side * 28, 20, -125), at(side * 52, 25, -200)), (7, 6.5, 6))
        vein = Tube((at(16, 22, -90), at(side * 34, 10, -125), at(side * 55, 12, -200)), (8, 7, 7))
        surgeon.vessel(artery, phase.aorta)
        surgeon.vessel(vein, phase.cava)
    return aorta_mm, wide


def paint_visceral_vessels(surgeon: Surgeon, stomach: Stomach) -> Tube:
    """Paint mesenteric, portal and splenic vessels; returns the splenic vein."""
    at, phase = surgeon.patient.at, surgeon.patient.phase
    splenic = Tube(
        (
            at(6, 50, 9),
            stomach.clear(at(-35, 38, 24, organ="pancreas"), 5),
            stomach.clear(at(-84, 10, 46, organ="spleen"), 5),
        ),
        (4.5, 4.3, 3.8),
    )
    vessels = (
        (Tube((at(-8, 36, 8), at(-4, 58, -25), at(2, 66, -90)), (4, 3.8, 3)), phase.aorta),
        (Tube((at(-9, 36, 26), at(-8, 50, 30), at(20, 52, 34)), (3.6, 3.4, 2.6)), phase.aorta),
        (Tube((at(9, 54, 4), at(9, 66, -30), at(11, 72, -90)), (5.5, 5.5, 4)), phase.portal),
        (Tube((at(7, 50, 8), at(22, 47, 20), at(35, 48, 34)), (6.5, 6.5, 6)), phase.portal),
        (splenic, phase.portal),
    )
    for vessel, blood in vessels:
        surgeon.vessel(vessel, blood, over=("aorta",))
    return splenic
