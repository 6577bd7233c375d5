"""The pelvis: sacrum, hip bones, the muscle inside them and the bladder."""

from __future__ import annotations

import numpy as np

from harness.data.phantom.canvas import BOWEL, Canvas
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import FAT_HU, Patient
from harness.data.phantom.shapes import Blend, Ellipsoid, Shape, Tube, rotation
from harness.data.phantom.spine import LOWEST_MM

_ILIACUS_MM = 9.0


def paint_pelvis(canvas: Canvas, patient: Patient, muscle: Floats, cavity: Floats, vertebra: Floats) -> None:
    """Paint the pelvis; its bones take their room from the cavity and join the field of the spine."""
    sacrum = _sacrum(patient)
    box = canvas.box(sacrum)
    field = canvas.field(sacrum, box) + 1.2 * canvas.noise(11.0, box, offset_mm=29.0)
    spongy = float(patient.rng.normal(130, 30))
    field = np.asarray(
        np.where(canvas.points[2][box] < (LOWEST_MM - 1) * patient.scale, field, 30.0), np.float32
    )
    for side in (1, -1):
        _paint_hip(canvas, patient, muscle, cavity, side, spongy)
    _paint_bone(canvas, box, field, spongy)
    for level in range(4):
        for side in (1, -1):
            hole = Ellipsoid(
                patient.at(side * (19 - 2 * level), -7, -147 - 22 * level), np.array((5.5, 14, 6))
            )
            part = canvas.box(hole)
            canvas.paint(part, (canvas.field(hole, part) < 0) & (muscle[part] < 0), FAT_HU * 0.6)
    np.minimum(vertebra[box], field, out=vertebra[box])
    np.maximum(cavity[box], -field + 1.0, out=cavity[box])
    _paint_bladder(canvas, patient, cavity)


def _sacrum(patient: Patient) -> Shape:
    at, s = patient.at, patient.scale
    column = Tube(
        (at(0, 0, LOWEST_MM - 8), at(0, -5, -165), at(0, -8, -205), at(0, -4, -243)),
        (31 * s, 27 * s, 18 * s, 7 * s),
        flat=3.4,
    )
    wings = Ellipsoid(at(0, -8, -150), np.array((52, 14, 28)) * s, rotation(x_deg=-8))
    return Blend((column, wings), blend_mm=8)


def _paint_hip(
    canvas: Canvas, patient: Patient, muscle: Floats, cavity: Floats, side: int, spongy: float
) -> None:
    at, s = patient.at, patient.scale
    back_turn, front_turn = (rotation(y_deg=22 * side, z_deg=angle * side) for angle in (-56.0, -27.0))
    hip = Blend(
        (
            # The wing is hollow towards the front.
            Ellipsoid(at(side * 75, -15, -130), np.array((7.5, 44, 60)) * s, back_turn),
            Ellipsoid(at(side * 108, 28, -126), np.array((6.0, 44, 52)) * s, front_turn),
            Tube((at(side * 78, 2, -165), at(side * 86, 14, -200)), (11 * s, 25 * s)),
        ),
        blend_mm=12,
    )
    box = canvas.box(hip, upright=True)
    field = canvas.field(hip, box, upright=True) + 1.0 * canvas.noise(23.0, box, offset_mm=64.0)
    inside = muscle[box] < -3
    # The iliac muscle lines the wing.
    canvas.paint(box, (field < _ILIACUS_MM) & inside & (cavity[box] < 0), patient.phase.muscle)
    canvas.paint(box, (np.abs(field - _ILIACUS_MM) < 0.7) & (cavity[box] < 0), FAT_HU)
    np.maximum(cavity[box], -field + np.float32(_ILIACUS_MM), out=cavity[box])
    _paint_bone(canvas, box, np.asarray(np.where(inside, field, 30.0), np.float32), spongy)
    head = Ellipsoid(at(side * 91, 16, -206), np.full(3, 23.5 * s))
    part = canvas.box(head, upright=True)
    ball = canvas.field(head, part, upright=True)
    canvas.paint(part, (ball < 2.2) & (muscle[part] < 0), 60.0)
    _paint_bone(canvas, part, ball, spongy + 90)
    _paint_femur(canvas, patient, muscle, side, spongy)


def _paint_femur(canvas: Canvas, patient: Patient, muscle: Floats, side: int, spongy: float) -> None:
    """Paint neck and shaft of the femur, and the ring of pubis and ischium below the hip."""
    at, s = patient.at, patient.scale
    ring = ((84, 22, -214), (46, 62, -246), (10, 74, -262), (34, 34, -284), (58, -8, -270), (78, 2, -224))
    bones = (
        Tube(tuple(at(side * x, y, z) for x, y, z in ring), tuple(r * s for r in (11, 8, 9, 7, 14, 15))),
        Tube(
            (
                at(side * 91, 16, -206),
                at(side * 122, 8, -232),
                at(side * 112, 14, -285),
                at(side * 92, 20, -430),
            ),
            tuple(r * s for r in (13, 17, 15, 13.5)),
        ),
    )
    for bone, marrow in zip(bones, (spongy, 30.0), strict=True):
        box = canvas.box(bone, upright=True)
        field = canvas.field(bone, box, upright=True)
        field = np.asarray(np.where(muscle[box] < -2, field, 30.0), np.float32)
        _paint_bone(canvas, box, field, marrow, shell_mm=2.4 if bone is bones[0] else 4.5)


def _paint_bone(
    canvas: Canvas, box: tuple[slice, slice, slice], field: Floats, spongy: float, *, shell_mm: float = 2.4
) -> None:
    texture = canvas.noise(6.0, box, offset_mm=8.0)
    canvas.paint(box, field < 0, spongy + 30 * texture)
    canvas.paint(box, (field < 0) & (field > -shell_mm), spongy + 430)


def _paint_bladder(canvas: Canvas, patient: Patient, cavity: Floats) -> None:
    full = patient.vary(0.22)
    bladder = Ellipsoid(patient.at(0, 46, -228, spread_mm=4), np.array((44, 34, 34)) * full)
    box = canvas.box(bladder, upright=True)
    field = canvas.field(bladder, box, upright=True) + 1.5 * canvas.noise(23.0, box, offset_mm=99.0)
    inside = cavity[box] < -2
    canvas.paint(box, (field < 0) & inside, 38.0)
    canvas.paint(box, (field < -3) & inside, 6.0)
    canvas.claim(box, (field < 2) & inside, BOWEL)
