"""The trunk: skin, fat, muscle, spine, ribs, lungs and heart. Fields over the whole grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.data.phantom.canvas import Canvas, Mask
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import Patient
from harness.data.phantom.shapes import Ellipsoid, Tube, rotation

FAT_HU = -105.0
_FAR_MM = 4000.0


@dataclass(frozen=True)
class Trunk:
    """What organs must respect; fields in mm, negative inside.

    Attributes:
        skin: The body's surface.
        muscle: The surface inside the subcutaneous fat.
        cavity: The wall of chest and abdomen.
        below: Inside the abdominal cavity, under the diaphragm.
        diaphragm_mm: How far a point lies above the diaphragm.
        vertebra: The vertebral column.
    """

    skin: Floats
    muscle: Floats
    cavity: Floats
    below: Mask
    diaphragm_mm: Floats
    vertebra: Floats


def paint_trunk(canvas: Canvas, patient: Patient) -> Trunk:
    """Paint everything that is not an abdominal organ."""
    x, y, _ = canvas.points
    centre = patient.centre_y_mm

    def outline(grow_mm: float) -> Floats:
        across = np.abs(x) / np.float32(patient.half_width_mm + grow_mm)
        deep = np.abs(y - np.float32(centre)) / np.float32(patient.half_depth_mm + grow_mm)
        # 2.4 lies between an ellipse and a rectangle, as the cross-section of a trunk does.
        radius = (across**2.4 + deep**2.4) ** (1 / 2.4)
        return np.asarray((radius - 1) * (patient.half_depth_mm + grow_mm), np.float32)

    skin, muscle, cavity = outline(patient.skin_mm), outline(0), outline(-14)
    _paint_wall(canvas, patient, skin, muscle, cavity)
    _paint_back(canvas, patient, muscle)
    vertebra = _paint_spine(canvas, patient)
    diaphragm = _diaphragm(canvas, patient)
    _paint_ribs(canvas, patient, muscle, cavity, diaphragm)
    _paint_chest(canvas, patient, cavity, diaphragm, vertebra)
    below = (cavity < -1) & (diaphragm < -2) & (vertebra > 1.5)
    return Trunk(skin, muscle, cavity, below, diaphragm, vertebra)


def _paint_wall(canvas: Canvas, patient: Patient, skin: Floats, muscle: Floats, cavity: Floats) -> None:
    everywhere = canvas.everywhere
    strands = canvas.noise(11.0, everywhere)
    canvas.paint(everywhere, skin < 0, FAT_HU + 6 * np.abs(strands))
    canvas.paint(everywhere, (skin < 0) & (skin > -2.0), 0.0)
    canvas.paint(everywhere, muscle < 0, patient.phase.muscle + 4 * strands)
    # Fat planes between the three layers of the abdominal wall.
    planes = np.sin(muscle * 1.15 + canvas.noise(23.0, everywhere, offset_mm=31.0))
    canvas.paint(everywhere, (muscle < -1) & (cavity > 0) & (planes > 0.8), FAT_HU * 0.6)
    mesentery = FAT_HU + 9 * np.maximum(strands, 0) + 3 * canvas.noise(6.0, everywhere)
    canvas.paint(everywhere, cavity < 0, mesentery)


def _paint_back(canvas: Canvas, patient: Patient, muscle: Floats) -> None:
    at, s = patient.at, patient.scale
    threshold = 1.9 - 0.35 * patient.fat
    for side in (1, -1):
        erector = Ellipsoid(at(side * 36, -38, 0), np.array((30 * s, 25 * s, _FAR_MM)))
        latissimus = Ellipsoid(
            at(side * 78, -28, -20), np.array((36 * s, 13 * s, 80)), rotation(z_deg=side * -25)
        )
        psoas = Tube(
            (at(side * 27, 2, 55), at(side * 36, 4, 0), at(side * 46, 10, -60), at(side * 56, 24, -160)),
            (5 * s, 14 * s, 20 * s, 22 * s),
        )
        for shape in (erector, latissimus, psoas):
            box = canvas.box(shape)
            inside = (canvas.field(shape, box) < 0) & (muscle[box] < 0)
            # Fat between the fibres, more of it in the obese.
            fibres = canvas.noise(6.0, box, offset_mm=9.0)
            canvas.paint(
                box, inside, np.where(fibres > threshold, FAT_HU * 0.5, patient.phase.muscle + 4 * fibres)
            )


def _paint_spine(canvas: Canvas, patient: Patient) -> Floats:
    x, y, z = canvas.points
    rng, s, everywhere = patient.rng, patient.scale, canvas.everywhere
    spongy, pitch = float(rng.normal(165, 35)), 34.0 * s
    level = np.mod(z / np.float32(pitch) + np.float32(rng.random()), 1.0)
    disc = np.abs(level - 0.5) > 0.41
    waist = 1.8 * np.cos(2 * np.pi * level)
    body = (
        canvas.field(Ellipsoid(patient.at(0, 0, 0), np.array((22 * s, 17 * s, _FAR_MM))), everywhere) - waist
    )
    canvas.paint(everywhere, (body < 0) & disc, 85.0)
    canvas.paint(everywhere, (body < 0) & ~disc, spongy + 30 * canvas.noise(6.0, everywhere, offset_mm=21.0))
    rim = (body < 0) & ((body > -2.4) | (np.abs(np.abs(level - 0.5) - 0.39) < 0.03)) & ~disc
    canvas.paint(everywhere, rim, spongy + 230)
    arch = canvas.field(Ellipsoid(patient.at(0, -25, 0), np.array((14 * s, 12 * s, _FAR_MM))), everywhere)
    canvas.paint(everywhere, (arch < 0) & (np.abs(level - 0.55) < 0.3) & (body > 0), spongy + 190)
    spinous = (np.abs(x) < 3.6 * s) & (y < -33 * s) & (y > -62 * s) & (np.abs(level - 0.5) < 0.24)
    transverse = (np.abs(y + 24 * s) < 5) & (np.abs(level - 0.55) < 0.14) & (np.abs(x) < 42 * s)
    canvas.paint(everywhere, spinous | (transverse & (np.abs(x) > 12 * s)), spongy + 110)
    canal = canvas.field(Ellipsoid(patient.at(0, -25, 0), np.array((9.5 * s, 8 * s, _FAR_MM))), everywhere)
    canvas.paint(everywhere, canal < 0, 22.0)
    return np.asarray(body, np.float32)


def _diaphragm(canvas: Canvas, patient: Patient) -> Floats:
    x, y, z = canvas.points
    s, rng = patient.scale, patient.rng
    top = (118 + rng.normal(0, 13)) * s
    right = ((x - 72 * s) / (78 * s)) ** 2 + ((y - 28 * s) / (88 * s)) ** 2
    left = ((x + 72 * s) / (75 * s)) ** 2 + ((y - 24 * s) / (84 * s)) ** 2
    height = np.where(x > 0, top - 46 * s * right, top - 12 * s - 46 * s * left)
    blended = np.where(np.abs(x) < 40 * s, np.minimum(height, top - 20 * s), height)
    return np.asarray(z - np.maximum(blended, top - 190 * s), np.float32)


def _paint_ribs(canvas: Canvas, patient: Patient, muscle: Floats, cavity: Floats, diaphragm: Floats) -> None:
    x, y, z = canvas.points
    s, rng = patient.scale, patient.rng
    # Ribs run down from the spine to the front: about 0.6 mm for each mm forward.
    course = np.mod((z + 0.6 * y - 0.12 * np.abs(x)) / np.float32(28 * s) + np.float32(rng.random()), 1.0)
    # The lower end of the cage rises from the flank (12th rib) to the front (costal margin).
    cage = z > -38 * s + 0.85 * np.maximum(y - 5 * s, 0)
    core = np.abs(course - 0.5)
    wall = (muscle < -2.5) & (cavity > -2.5) & cage & (np.abs(x) > 22 * s)
    canvas.paint(canvas.everywhere, wall & (core < 0.17), 400.0 + float(rng.normal(0, 50)))
    marrow = wall & (core < 0.09) & (muscle < -5) & (cavity > 0)
    canvas.paint(canvas.everywhere, marrow, 150.0)


def _paint_chest(
    canvas: Canvas, patient: Patient, cavity: Floats, diaphragm: Floats, vertebra: Floats
) -> None:
    x, y, _ = canvas.points
    s, everywhere = patient.scale, canvas.everywhere
    heart = canvas.field(
        Ellipsoid(patient.at(-22, 62, 165), np.array((58, 48, 52)) * s, rotation(z_deg=25, x_deg=12)),
        everywhere,
    )
    mediastinum = (np.abs(x) < 22 * s) & (y < 95 * s)
    lung = (cavity < 1) & (diaphragm > 0) & (heart > 2) & ~mediastinum & (vertebra > 6)
    texture = canvas.noise(11.0, everywhere, offset_mm=77.0)
    vessels = canvas.noise(6.0, everywhere, offset_mm=40.0) > 2.3
    canvas.paint(everywhere, lung, -850 + 25 * texture + 650 * vessels)
    chest = (cavity < 0) & (diaphragm > 0) & ~lung & (vertebra > 0)
    canvas.paint(everywhere, chest & (heart < 0), 0.75 * patient.phase.aorta + 15)
    canvas.paint(everywhere, (cavity < 0) & (np.abs(diaphragm) < 2.0) & (vertebra > 3), patient.phase.muscle)
