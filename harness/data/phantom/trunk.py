"""The trunk: skin, fat, the muscles of the wall and the back. Fields over the whole grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import PchipInterpolator

from harness.data.phantom.canvas import Canvas, Mask
from harness.data.phantom.chest import diaphragm_height_mm, paint_cage, paint_chest, paint_girdle
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import FAT_HU, Patient
from harness.data.phantom.pelvis import paint_pelvis
from harness.data.phantom.shapes import Ellipsoid, Shape, Tube, rotation
from harness.data.phantom.spine import paint_spine

_FAR_MM = 4000.0

_Z_MM = (-280, -240, -200, -150, -100, -50, 0, 50, 100, 150, 200, 260, 300, 335, 365, 400)
# Shares of the patient's half width and half depth, from hip to neck.
_SIDE = (1.13, 1.13, 1.10, 1.06, 1.0, 0.94, 0.925, 0.955, 0.99, 1.0, 0.98, 0.96, 1.06, 1.27, 0.85, 0.42)
_FRONT = (0.70, 0.74, 0.79, 0.84, 0.87, 0.89, 0.91, 0.94, 0.985, 1.01, 1.0, 0.96, 0.84, 0.68, 0.55, 0.52)
_BACK = (1.10, 1.13, 1.12, 1.06, 0.99, 0.96, 0.965, 0.985, 1.02, 1.06, 1.09, 1.11, 1.1, 1.0, 0.85, 0.7)
# Shares of the patient's subcutaneous fat.
_SIDE_FAT = (1.0, 1.1, 1.2, 1.35, 1.35, 1.2, 0.95, 0.75, 0.6, 0.5, 0.5, 0.5, 0.6, 0.6, 0.5, 0.3)
_FRONT_FAT = (0.9, 1.0, 1.2, 1.4, 1.4, 1.3, 1.1, 0.85, 0.6, 0.5, 0.5, 0.5, 0.5, 0.4, 0.4, 0.3)
_BACK_FAT = (1.5, 1.6, 1.6, 1.5, 1.35, 1.2, 1.0, 0.8, 0.7, 0.6, 0.6, 0.6, 0.7, 0.8, 0.6, 0.5)

_CROTCH_MM = -292.0
_LEG_Z_MM = (-420, -292)
_LEG_MM = ((78, 88), (76, 86), (80, 88))
"""Of each thigh at these heights: distance from the middle, half width, half depth."""

_CAGE_Z_MM = (225, 260, 290, 315, 335, 348)
_CAGE_MM = ((170, 130, 106, 74, 38, 8), (130, 84, 64, 46, 28, 8))
"""Half width and half depth of the cage, which closes under the shoulders."""

# Thickness of the wall, mm, over the angle from the spine to the front, in radians.
_ANGLE = (0.0, 0.5, 0.75, 1.0, 1.4, 1.9, 2.15, 2.42, 2.62, 2.92, 3.05, 3.142)
_BELLY = (34, 19, 9, 10, 16, 17, 12, 6, 10.5, 10, 5, 3.5)
_THORAX = (30, 18, 13, 12.5, 12.5, 12, 12, 12, 12, 12, 13, 13)
_HIP = (60, 62, 62, 62, 52, 36, 20, 8, 11, 10.5, 5, 3.5)
_ANGLE_STEPS = 512
_FURROW_REACH_MM = 100.0


@dataclass(frozen=True)
class Trunk:
    """What organs must respect; fields in mm, negative inside.

    Attributes:
        skin: The body's surface.
        muscle: The surface inside the subcutaneous fat.
        cavity: The wall of chest, abdomen and pelvis, muscles of the back included.
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
    skin, muscle = _outlines(canvas, patient)
    angle = _angle(canvas, patient)
    thickness = _thickness(canvas, patient, angle)
    cavity = muscle + thickness
    _close_cavity(canvas, patient, cavity)
    _paint_wall(canvas, patient, skin, muscle, cavity, angle, thickness)
    _paint_back(canvas, patient, muscle, cavity)
    diaphragm = np.asarray(canvas.points[2] - diaphragm_height_mm(canvas, patient), np.float32)
    vertebra = paint_spine(canvas, patient, skin)
    paint_chest(canvas, patient, cavity, diaphragm, vertebra)
    paint_cage(canvas, patient, muscle, cavity, angle)
    paint_girdle(canvas, patient, muscle)
    paint_pelvis(canvas, patient, muscle, cavity, vertebra)
    below = (cavity < -1) & (diaphragm < -2) & (vertebra > 1.5)
    return Trunk(skin, muscle, cavity, below, diaphragm, vertebra)


def back_mm(patient: Patient, low_mm: float, high_mm: float) -> float:
    """Return y of the deepest point of the back between two heights, where the table is."""
    z = np.clip(np.linspace(low_mm, high_mm, 64) / patient.scale, _Z_MM[0], _Z_MM[-1])
    muscle, fat = np.interp(z, _Z_MM, _BACK), np.interp(z, _Z_MM, _BACK_FAT)
    return patient.centre_y_mm - float(np.max(muscle * patient.half_depth_mm + fat * patient.skin_mm))


def _profile(canvas: Canvas, patient: Patient, shares: tuple[float, ...]) -> Floats:
    """Return a quantity that changes along z, on the grid's slices."""
    z = np.clip(canvas.axes_mm[2] / patient.scale, _Z_MM[0], _Z_MM[-1])
    return np.asarray(PchipInterpolator(np.array(_Z_MM), np.array(shares))(z), np.float32)


def _outlines(canvas: Canvas, patient: Patient) -> tuple[Floats, Floats]:
    """Return the fields of the skin and of the muscles under the fat."""
    x = np.abs(canvas.points[0])
    y = canvas.points[1] + (canvas.forward_mm - np.float32(patient.centre_y_mm - 6))
    ahead = y > 0
    np.abs(y, out=y)
    # The back lies flat on the table, the belly is rounder.
    power = np.where(ahead, np.float32(2.25), np.float32(2.7))
    # Visceral fat bulges the belly.
    belly = np.float32(9 * (patient.fat - 0.8)) * np.exp(-np.square((canvas.axes_mm[2] + 40) / 110))
    legs = canvas.axes_mm[2] < _CROTCH_MM * patient.scale
    fields = []
    for fat in (True, False):
        layer = np.float32(patient.skin_mm if fat else 0)
        side = _profile(canvas, patient, _SIDE) * np.float32(patient.half_width_mm)
        front = _profile(canvas, patient, _FRONT) * np.float32(patient.half_depth_mm) + 6 + belly
        back = _profile(canvas, patient, _BACK) * np.float32(patient.half_depth_mm) - 6
        side += layer * _profile(canvas, patient, _SIDE_FAT)
        front += layer * _profile(canvas, patient, _FRONT_FAT)
        back += layer * _profile(canvas, patient, _BACK_FAT)
        deep = y * np.where(ahead, 1 / front, 1 / back)
        np.power(deep, power, out=deep)
        across = x * (1 / side)
        np.power(across, power, out=across)
        deep += across
        field = np.power(deep, 1 / power, out=deep)
        field -= 1
        field *= np.minimum(front, back)
        if fat:  # the furrow over the spinous processes
            near = np.abs(canvas.axes_mm[0]) < _FURROW_REACH_MM
            field[near] += 5 * np.exp(-np.square(x[near] / 13)) * ~ahead[near]
        if legs.any():
            field[..., legs] = _thighs(canvas, patient, legs, fat=fat)
        fields.append(field)
    return fields[0], fields[1]


def _thighs(canvas: Canvas, patient: Patient, legs: Mask, *, fat: bool) -> Floats:
    """Return the field of both thighs, or of their muscles, on some slices."""
    s = np.float32(patient.scale)
    x, y = canvas.points[0][..., legs], (canvas.points[1] + canvas.forward_mm)[..., legs]
    aside, wide, deep = (
        np.interp(canvas.axes_mm[2][legs] / s, _LEG_Z_MM, ends).astype(np.float32) * s for ends in _LEG_MM
    )
    # Wide hips have thick thighs.
    wide = wide * np.float32(patient.half_width_mm / (150 * patient.scale))
    layer = np.float32(0.9 * patient.skin_mm if fat else 0.0)
    across, along = (np.abs(x) - aside) / (wide + layer), (y - 10 * s) / (deep + layer)
    return np.asarray((np.hypot(across, along) - 1) * np.minimum(wide, deep), np.float32)


def _close_cavity(canvas: Canvas, patient: Patient, cavity: Floats) -> None:
    """End the cavity at the crotch, and the chest under the shoulders."""
    s, z = np.float32(patient.scale), canvas.axes_mm[2]
    cavity[..., z < _CROTCH_MM * patient.scale] = _FAR_MM
    high = z > _CAGE_Z_MM[0] * patient.scale
    if not high.any():
        return
    wide, deep = (np.interp(z[high] / s, _CAGE_Z_MM, ends).astype(np.float32) * s for ends in _CAGE_MM)
    x, y = canvas.points[0][..., high], canvas.points[1][..., high]
    cage = (np.hypot(x / wide, (y - 26 * s) / deep) - 1) * np.minimum(wide, deep)
    # Above its top nothing is inside.
    cage += np.maximum(z[high] - np.float32(_CAGE_Z_MM[-1]) * s, 0)
    cavity[..., high] = np.maximum(cavity[..., high], cage)


def _angle(canvas: Canvas, patient: Patient) -> Floats:
    """Return the angle round the trunk from the spine, 0, to the middle of the front, pi."""
    x, y = canvas.points[0], canvas.points[1] + canvas.forward_mm
    return np.asarray(np.arctan2(np.abs(x), 1.4 * (np.float32(patient.centre_y_mm - 6) - y)), np.float32)


def _thickness(canvas: Canvas, patient: Patient, angle: Floats) -> Floats:
    """Return the thickness of the wall in mm."""
    s = patient.scale
    steps = np.linspace(0, np.pi, _ANGLE_STEPS)
    index = (angle * np.float32((_ANGLE_STEPS - 1) / np.pi)).astype(np.int16)
    belly, thorax, hip = (
        (np.interp(steps, _ANGLE, values) * s * patient.muscular).astype(np.float32)
        for values in (_BELLY, _THORAX, _HIP)
    )
    z = canvas.axes_mm[2] / np.float32(s)
    hips = np.clip((-72 - z) / 60, 0, 1)
    result = belly[index]
    result += hips * (hip - belly)[index]
    # The cage ends higher in the front.
    margin = (-25 + 115 * np.clip((steps - 1.3) / 1.5, 0, 1)).astype(np.float32)
    chest = np.clip((z - margin[index]) / 24, 0, 1)
    return np.asarray(result + chest * (thorax - belly)[index], np.float32)


def _paint_wall(
    canvas: Canvas,
    patient: Patient,
    skin: Floats,
    muscle: Floats,
    cavity: Floats,
    angle: Floats,
    thickness: Floats,
) -> None:
    box = canvas.around(skin < 0)
    skin, muscle, cavity, angle, thickness = (v[box] for v in (skin, muscle, cavity, angle, thickness))
    strands = canvas.noise(11.0, box)
    fine = canvas.noise(6.0, box)
    septa = np.abs(strands + 0.6 * fine) < 0.07
    canvas.paint(box, skin < 0, FAT_HU + 4 * strands + 22 * septa)
    canvas.paint(box, (skin < 0) & (skin > -2.0), 5.0)
    canvas.paint(box, muscle < 0, patient.phase.muscle + 4 * strands - 9 * np.maximum(fine - 1.1, 0))
    # Fat planes between the three layers of the flank, and between the gluteal muscles.
    depth = np.clip(-muscle / thickness, 0, 1) + 0.07 * canvas.noise(23.0, box, offset_mm=31.0)
    half = np.float32(0.3 + 0.3 * patient.fat) * np.clip(thickness / 20, 1, 3) / thickness
    planes = (np.abs(depth - 0.36) < half) | (np.abs(depth - 0.69) < half)
    flank = (angle > 0.35) & (angle < 2.3) & (thickness > 11) & (muscle < -1) & (cavity > 0)
    # Layers touch here and there, the more the leaner the patient.
    parted = canvas.noise(16.0, box, offset_mm=77.0) > 0.3 - 0.9 * patient.fat
    canvas.paint(box, planes & flank & parted, FAT_HU * 0.55)
    mesentery = FAT_HU + 6 * np.maximum(strands, 0) + 3 * fine
    canvas.paint(box, cavity < 0, mesentery)


def _paint_back(canvas: Canvas, patient: Patient, muscle: Floats, cavity: Floats) -> None:
    """Paint the muscles along the spine, and take their room from the cavity."""
    at, s, strong = patient.at, patient.scale, patient.muscular
    threshold = 1.65 - 0.4 * patient.fat
    for side in (1, -1):
        shapes: tuple[Shape, ...] = (
            Ellipsoid(at(side * 33, -44, 0), np.array((31 * s, 25 * s * strong**0.5, _FAR_MM))),
            Ellipsoid(at(side * 60, -37, -22), np.array((23 * s, 8 * s, 66)), rotation(z_deg=side * -20)),
            Tube(
                (at(side * 26, -3, 34), at(side * 33, 2, -8), at(side * 42, 9, -60), at(side * 52, 26, -150)),
                (3 * s, 11.5 * s * strong, 17.5 * s * strong, 18.5 * s * strong),
            ),
            # The crura of the diaphragm beside the aorta.
            Tube((at(side * 15, 14, -12), at(side * 17, 19, 40), at(side * 18, 34, 84)), (3.5, 4.5, 4.0)),
        )
        for shape in shapes:
            box = canvas.box(shape)
            field = canvas.field(shape, box)
            inside = muscle[box] < 0
            # Fat between the fibres, more of it in the obese.
            fibres = canvas.noise(6.0, box, offset_mm=9.0)
            canvas.paint(box, (np.abs(field) < 0.5 + 0.6 * patient.fat) & inside, FAT_HU * 0.8)
            hu = np.where(fibres > threshold, FAT_HU * 0.5, patient.phase.muscle + 4 * fibres)
            canvas.paint(box, (field < -0.4) & inside, hu)
            np.maximum(cavity[box], -field + 0.5, out=cavity[box])
