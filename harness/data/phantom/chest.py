"""The chest: ribs, their cartilage, sternum, diaphragm, lungs and heart."""

from __future__ import annotations

import numpy as np

from harness.data.phantom.canvas import Canvas
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import FAT_HU, Patient
from harness.data.phantom.shapes import Ellipsoid, Shape, Tube, rotation, smooth_union

_RIBS: tuple[tuple[float, float, float], ...] = (
    # Height of the head over the second lumbar vertebra, fall per radian, angle where the bone ends
    (75, 40, 1.05),
    (107, 41, 1.60),
    (138, 42, 2.05),
    (167, 42, 2.20),
    (194, 41, 2.32),
    (220, 40, 2.42),
    (246, 38, 2.50),
    (271, 36, 2.55),
    (296, 34, 2.58),
    (320, 33, 2.60),
)
_FLOATING = 2
_GIRDLE_MM = 245.0
_FIRST_ANGLE = 0.24
_CARTILAGE_RISE = 95.0


def diaphragm_height_mm(canvas: Canvas, patient: Patient) -> Floats:
    """Return how high the diaphragm stands: two domes that fall steeply to the wall."""
    x, y, _ = canvas.points
    s, top = patient.scale, patient.dome_mm
    right = ((x - 70 * s) / (80 * s)) ** 2 + ((y - 30 * s) / (90 * s)) ** 2
    left = ((x + 70 * s) / (78 * s)) ** 2 + ((y - 26 * s) / (88 * s)) ** 2
    heights = [
        lift - s * (21 * bowl + 21 * np.square(bowl)) for lift, bowl in ((top, right), (top - 13 * s, left))
    ]
    return np.maximum(-smooth_union(-heights[0], -heights[1], 24.0), np.float32(-75 * s))


def paint_cage(canvas: Canvas, patient: Patient, muscle: Floats, cavity: Floats, angle: Floats) -> None:
    """Paint ribs, costal cartilage and sternum into the wall of the chest."""
    s, rng = np.float32(patient.scale), patient.rng
    shift = float(rng.normal(0, 5))
    calcified = float(rng.uniform(-0.2, 2.4))
    box = (slice(None), slice(None), slice(int(np.searchsorted(canvas.axes_mm[2], -70 * s)), None))
    wall = (muscle[box] < -1) & (cavity[box] > -3) & (angle[box] > _FIRST_ANGLE)
    z, turn = canvas.points[2][box][wall] / s, angle[box][wall]
    # Under the shoulder girdle ribs follow the cage, below it the surface.
    depth = np.where(z < _GIRDLE_MM, muscle[box][wall] + 8.5, cavity[box][wall] - 3.5) / s
    texture = canvas.noise(6.0, box, offset_mm=55.0)[wall]
    hu = canvas.hu[box][wall]
    sternum = np.hypot((np.pi - turn) / 0.155, depth / 5.2) - 1
    plate = (sternum < 0) & (z > 112) & (z < 300)
    hu[plate] = np.where(sternum[plate] > -0.35, 330.0, 120.0)
    margin = 36 + _CARTILAGE_RISE * (turn - 2.05)
    for number, (head, fall, end) in enumerate(_RIBS):
        # Down and round from the spine; from the end of the bone on, cartilage climbs to the sternum.
        past = np.maximum(turn - end, 0)
        course = head + shift - fall * np.minimum(turn, end) + _CARTILAGE_RISE * past
        if number >= _FLOATING:
            course = np.maximum(course, margin)
        bony = turn < end
        tall, thick = np.where(bony, 6.3, 6.8), np.where(bony, 3.9, 4.6)
        if number < _FLOATING:
            tall = tall * np.clip((end + 0.12 - turn) / 0.3, 0, 1) + 0.01
        rib = np.hypot((z - course) / tall, depth / thick) - 1
        inside = rib < 0
        bone = inside & bony
        hu[bone] = np.where(rib[bone] > -0.36, 470.0, 140.0)
        if number >= _FLOATING:
            gristle = inside & ~bony & (turn < np.pi - 0.13)
            spots = (texture[gristle] > 2.6 - calcified) & (rib[gristle] > -0.5)
            hu[gristle] = np.where(spots, 330.0, 105.0)
    canvas.hu[box][wall] = hu


def paint_girdle(canvas: Canvas, patient: Patient, muscle: Floats) -> None:
    """Paint shoulder blades, collar bones, the heads of the upper arms, and the windpipe between them."""
    at, s = patient.at, patient.scale
    for side in (1, -1):
        shapes: tuple[Shape, ...] = (
            Ellipsoid(at(side * 152, 20, 322, spread_mm=4), np.full(3, 23.0) * s),
            Ellipsoid(
                at(side * 98, -46, 268, spread_mm=4), np.array((36, 5, 62)) * s, rotation(z_deg=28 * side)
            ),
            Tube((at(side * 92, -58, 300), at(side * 138, -6, 326)), (7 * s, 9 * s)),
            Tube(
                (at(side * 16, 74, 300), at(side * 76, 62, 326), at(side * 140, 18, 340)),
                (7 * s, 6 * s, 6 * s),
            ),
        )
        for shape in shapes:
            box = canvas.box(shape)
            field = canvas.field(shape, box)
            inside = (field < 0) & (muscle[box] < -1)
            canvas.paint(box, inside, 150 + 30 * canvas.noise(6.0, box))
            canvas.paint(box, inside & (field > -2.2), 600.0)
    windpipe = Tube((at(0, 36, 420), at(0, 34, 330), at(3, 26, 236)), (8 * s, 8 * s, 8 * s))
    box = canvas.box(windpipe)
    field = canvas.field(windpipe, box)
    canvas.paint(box, (field < 2.0) & (muscle[box] < -4), patient.phase.muscle)
    canvas.paint(box, (field < 0) & (muscle[box] < -4), -990.0)


def paint_chest(
    canvas: Canvas, patient: Patient, cavity: Floats, diaphragm: Floats, vertebra: Floats
) -> None:
    """Paint lungs, heart, the fat between them, and the diaphragm."""
    s, phase = patient.scale, patient.phase
    box = canvas.around((cavity < 0) & (diaphragm > -2))
    x, y = canvas.points[0][box], canvas.points[1][box]
    cavity, diaphragm, vertebra = cavity[box], diaphragm[box], vertebra[box]
    turn = rotation(z_deg=28, x_deg=14)
    centre = patient.at(-24, 66, 164)
    heart = canvas.field(Ellipsoid(centre, np.array((60, 46, 50)) * s, turn), box)
    heart += 2.5 * canvas.noise(23.0, box, offset_mm=48.0)
    narrow = np.float32(24 * s) + np.abs(y - 20 * s) * np.float32(0.12)
    column = np.maximum(np.abs(x + 2) - narrow, y - np.float32(62 * s))
    pad = 7 + 0.45 * np.maximum(y - 75 * s, 0) * np.clip(1 - diaphragm / 70, 0.1, 1)
    stalk = np.maximum(np.abs(x + 8 * s) - pad, -y)
    mediastinum = np.minimum(column, stalk) + 3.5 * canvas.noise(23.0, box, offset_mm=9.0)
    lung = (cavity < -1) & (diaphragm > 1) & (heart > 5) & (mediastinum > 0) & (vertebra > 5)
    texture = canvas.noise(11.0, box, offset_mm=77.0)
    vessels = canvas.noise(6.0, box, offset_mm=40.0) > 2.1
    chest = (cavity < 0) & (diaphragm > 0) & (vertebra > 0)
    canvas.paint(box, lung, -860 + 22 * texture + 700 * vessels)
    canvas.paint(box, chest & (heart < -5), phase.muscle + 0.28 * phase.aorta)
    for place, radii in (((-34, 62, 158), (30, 20, 26)), ((8, 74, 168), (26, 22, 30))):
        chamber = canvas.field(Ellipsoid(patient.at(*place), np.array(radii) * s, turn), box)
        canvas.paint(box, chest & (chamber < 0) & (heart < -7), 0.85 * phase.aorta + 6)
    canvas.paint(box, (cavity < 0) & (np.abs(diaphragm) < 1.6) & (vertebra > 3), phase.muscle - 5)
    canvas.paint(box, (cavity < 0) & (diaphragm > 1.6) & (heart > -5) & ~lung & (vertebra > 0), FAT_HU)
