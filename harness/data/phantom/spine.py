"""The vertebral column: bodies, discs, arches and processes, which grow from the chest to the loin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.canvas import Box, Canvas, Mask
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import FAT_HU, Patient
from harness.data.phantom.shapes import Ellipsoid, smooth_union

_HEIGHTS_MM = (35, 37, 36.5, 36, 34.5, 32.5, 30.5, 28.5, 27.5, 26.5, 26, 25.5, 25, 24, 22, 20, 18, 17, 16, 16)
"""Of a vertebra and its disc, from the fifth lumbar upwards."""

LOWEST_MM = -126.5
"""Where the fifth lumbar disc ends and the sacrum begins; the second lumbar vertebra lies at 0."""

_TABLE_Z_MM = (-130, 0, 70, 150, 260, 370)
_WIDE_MM = (25.5, 23, 20.5, 16.5, 14.5, 12.0)
_DEEP_MM = (17.5, 17.0, 16.5, 15.5, 13.5, 9.5)
_TRANSVERSE_MM = (40, 43, 30, 34, 34, 26)


def paint_spine(canvas: Canvas, patient: Patient, skin: Floats) -> Floats:
    """Paint the vertebrae from L5 upwards and return the field of their bodies over the whole grid."""
    x, y, z = canvas.points
    s = np.float32(patient.scale)
    along = canvas.axes_mm[2] / s
    wide, deep = (
        np.interp(along, _TABLE_Z_MM, values).astype(np.float32) * s for values in (_WIDE_MM, _DEEP_MM)
    )
    rest = np.maximum(np.float32(LOWEST_MM) * s - z, 0)
    body = np.asarray((np.hypot(x / wide, y / deep) - 1) * deep + rest, np.float32)
    _paint_vertebrae(canvas, patient, body, skin)
    return body


@dataclass(frozen=True)
class _Levels:
    """Where each voxel near the spine lies in its vertebra; mm of the average adult.

    Attributes:
        body: The field of the bodies, with their waist.
        core: How far inside a body along the spine; negative in a disc.
        above_middle: How far above the middle of a body.
        here: Above the sacrum.
    """

    body: Floats
    core: NDArray[np.floating[Any]]
    above_middle: NDArray[np.floating[Any]]
    here: Mask


def _paint_vertebrae(canvas: Canvas, patient: Patient, column: Floats, skin: Floats) -> None:
    s = np.float32(patient.scale)
    spongy = float(patient.rng.normal(150, 35))
    reach = Ellipsoid(patient.at(0, -22, 0), np.array((48, 52, 4000)) * patient.scale)
    box = canvas.box(reach, 0.0)
    levels = _levels(canvas, patient, box, column)
    noise = canvas.noise(6.0, box, offset_mm=21.0)
    canvas.paint(box, (column[box] < -0.6) & (levels.core < 0) & levels.here, 82.0 + 6 * noise)
    bone = (levels.body < 0) & (levels.core >= 0) & levels.here
    canvas.paint(box, bone, spongy + 26 * noise)
    canvas.paint(box, bone & ((levels.body > -1.8) | (levels.core < 1.7)), spongy + 240)
    x, y = canvas.points[0][box] / s, canvas.points[1][box] / s
    canal = np.hypot(x / 10.5, (y + 25) / 8.2)
    canvas.paint(box, (levels.body > 0) & (canal < 1.12) & levels.here & (y > -40), FAT_HU * 0.5)
    arch, facet = _arch(canvas, patient, box, levels)
    posterior = (arch < 0) & (levels.body > -1) & (canal > 1) & levels.here & (skin[box] < -3)
    canvas.paint(box, posterior, spongy + 20 + 30 * noise)
    canvas.paint(box, posterior & (arch > -1.4), spongy + 310)
    joint = np.abs(facet) < 0.35
    canvas.paint(box, posterior & joint & (np.abs(x) > 12), spongy + 60)
    canvas.paint(box, (np.hypot(x / 8.6, (y + 24) / 6.6) < 1) & (levels.body > 0.3), 28.0)


def _levels(canvas: Canvas, patient: Patient, box: Box, column: Floats) -> _Levels:
    s = np.float32(patient.scale)
    y, z = canvas.points[1][box] / s, canvas.points[2][box] / s
    # Vertebrae stand at right angles to the spine's curve.
    heights = canvas.axes_mm[2][box[2]]
    slope = 0.5 * (patient.forward_mm(heights + 1) - patient.forward_mm(heights - 1))
    height = z + slope * y
    ends = LOWEST_MM + np.concatenate(([0.0], np.cumsum(_HEIGHTS_MM)))
    number = np.clip(np.searchsorted(ends, height) - 1, 0, len(_HEIGHTS_MM) - 1)
    tall = np.asarray(_HEIGHTS_MM, np.float32)[number]
    up = height - ends.astype(np.float32)[number]  # above the lower end of the disc below this vertebra
    disc_mm = 0.4 * tall - 5.4  # 9 mm in the loin, 5 mm in the chest
    above_disc, below_top = up - disc_mm, tall - up
    core = np.minimum(above_disc, below_top)
    waist = 2.2 * np.clip(core / (0.35 * tall), 0, 1)
    return _Levels(column[box] / s + waist, core, above_disc - 0.5 * (tall - disc_mm), z > LOWEST_MM)


def _arch(canvas: Canvas, patient: Patient, box: Box, levels: _Levels) -> tuple[Floats, Floats]:
    """Return the fields of the vertebral arches with all their processes, and of the facet joints."""
    s = np.float32(patient.scale)
    side, y = np.abs(canvas.points[0][box] / s), canvas.points[1][box] / s
    wide, transverse = (
        np.interp(canvas.axes_mm[2][box[2]] / s, _TABLE_Z_MM, values).astype(np.float32)
        for values in (_WIDE_MM, _TRANSVERSE_MM)
    )

    def lump(px: Floats | float, py: float, pz: float, rx: float, ry: float, rz: float) -> Floats:
        """Return an ellipsoid of both sides at once."""
        n = np.sqrt(((side - px) / rx) ** 2 + ((y - py) / ry) ** 2 + ((levels.above_middle - pz) / rz) ** 2)
        return np.asarray((n - 1) * min(rx, ry, rz), np.float32)

    half = wide * np.float32(0.5)
    pedicle = lump(half + 2, -21, 5, 4.2, 9, 7.5)
    lamina = lump(9.0, -37, -3, 9, 4.2, 12)
    facet = np.minimum(lump(16.5, -34, 17, 6.5, 8, 9), lump(15.0, -36, -17, 6, 7, 9))
    wing = lump(0.55 * transverse, -25, 6, 18.0, 4.2, 5.2)
    wing = np.asarray(np.where(side < transverse, wing, 9.0), np.float32)
    spinous = lump(0.0, -52, -8, 3.6, 17, 10)
    arch = smooth_union(smooth_union(pedicle, lamina, 4), smooth_union(facet, spinous, 4), 3)
    return smooth_union(arch, wing, 4), facet
