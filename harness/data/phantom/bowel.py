"""The bowel: colon along the frame of the abdomen, and loops of small bowel round their mesentery."""

from __future__ import annotations

import numpy as np

from harness.data.phantom.canvas import BOWEL
from harness.data.phantom.shapes import Ellipsoid, Tube, Vector
from harness.data.phantom.surgeon import GAS_HU, Surgeon

_WALL_MM = 2.2


def paint_bowel(surgeon: Surgeon) -> None:
    """Paint what fills the abdomen round the organs; it gives way to all of them."""
    _colon(surgeon)
    _mesenteric_vessels(surgeon)
    _small_bowel(surgeon)
    _small_vessels(surgeon)


def _colon(surgeon: Surgeon) -> None:
    patient = surgeon.patient
    at, s, rng = patient.at, patient.scale, patient.rng
    low, high = float(rng.normal(-36, 14)), float(rng.normal(6, 6))
    hepatic, splenic = at(92, 40, -22, spread_mm=6), at(-100, 32, 38, spread_mm=5)
    transverse = [
        hepatic,
        at(76, 80, low + 8, spread_mm=5),
        at(34, 100 + high, low - 6, spread_mm=6),
        at(-20, 102 + high, low, spread_mm=6),
        at(-70, 86, 0.4 * low + 12, spread_mm=6),
        splenic,
    ]
    pieces: tuple[tuple[list[Vector], float, float], ...] = (
        (
            [
                at(84, 34, -168, spread_mm=5),
                at(96, 22, -120, spread_mm=5),
                at(99, 14, -70, spread_mm=5),
                hepatic,
            ],
            25,
            1.2,
        ),
        (transverse, 20, 0.6),
        (
            [
                splenic,
                at(-107, 4, -10, spread_mm=5),
                at(-105, 4, -80, spread_mm=5),
                at(-92, 22, -140, spread_mm=5),
            ],
            14,
            1.5,
        ),
        (
            [
                at(-92, 22, -140),
                at(-60, 40, -175, spread_mm=10),
                at(-10, 30, -165, spread_mm=12),
                at(4, -8, -190),
                at(2, -22, -230),
            ],
            15,
            1.4,
        ),
    )
    for path, wide, gas in pieces:
        radius = wide * s * patient.vary(0.13)
        _colon_piece(surgeon, path, radius, gas + float(rng.normal(0, 0.7)), float(rng.uniform(0, 1)))


def _colon_piece(surgeon: Surgeon, path: list[Vector], radius_mm: float, gas: float, stool: float) -> None:
    """Paint a piece of colon: haustra, stool mottled with gas, gas that rises to the front."""
    canvas, phase = surgeon.canvas, surgeon.patient.phase
    tube = Tube(tuple(path), tuple([radius_mm] * len(path)), blend_mm=8)
    box, field = surgeon.inside(tube, roughness_mm=0.17 * radius_mm, grain_mm=11.0)
    free = surgeon.free(box)
    canvas.paint(box, (field < 0) & free, phase.bowel_wall)
    lumen = (field < -_WALL_MM) & free
    coarse, fine = canvas.noise(11.0, box, offset_mm=5.0), canvas.noise(6.0, box, offset_mm=3.0)
    contents = 30 + 25 * coarse - 420 * np.clip(fine + 0.5 * stool - 0.6, 0, 2)
    canvas.paint(box, lumen, contents)
    middle = np.interp(
        canvas.axes_mm[2][box[2]],
        *np.array(sorted((float(point[2]), float(point[1])) for point in path)).T,
    )
    height = (canvas.points[1][box] - middle.astype(np.float32)) / np.float32(0.7 * radius_mm)
    canvas.paint(box, lumen & (height + 0.35 * coarse > gas), GAS_HU)
    canvas.owner[box][(field < 0) & free] = BOWEL
    surgeon.hold(box, field, 1.2, BOWEL)


def _mesenteric_vessels(surgeon: Surgeon) -> None:
    """Paint the fan of vessels between the great mesenteric ones and the loops."""
    patient = surgeon.patient
    rng, at, phase = patient.rng, patient.at, patient.phase
    for number in range(9):
        turn = np.radians(-105 + 26 * number + float(rng.normal(0, 8)))
        root = at(4, 66, -38 - 5 * number)
        way = np.array((np.sin(turn), 0.12 * float(rng.normal()), -0.85 * abs(np.cos(turn)) - 0.15))
        middle = root + 30 * way + rng.normal(0, 3, 3)
        for blood, aside in ((phase.aorta, 0.0), (phase.portal, 4.5)):
            start, fork = root + np.array((aside, 2, 0)), middle + np.array((aside, 2, 0))
            surgeon.vessel(Tube((start, fork), (2.0 + 0.2 * aside, 1.6 + 0.2 * aside)), blood)
            for spread in (-14, 15):
                tip = fork + 28 * way + np.array((spread, float(rng.normal(0, 7)), float(rng.normal(0, 6))))
                surgeon.vessel(Tube((fork, tip), (1.5 + 0.15 * aside, 1.0 + 0.1 * aside)), blood)


def _small_bowel(surgeon: Surgeon) -> None:
    """Paint loops: the tubes round the lines where two random fields vanish together.

    Such lines wind, never end and keep a distance from each other, as loops of bowel do.
    """
    canvas, patient, trunk = surgeon.canvas, surgeon.patient, surgeon.trunk
    rng, s, phase = patient.rng, patient.scale, patient.phase
    home = Ellipsoid(patient.at(-4, 62, -92), np.array((104, 66, 112)) * s)
    box, where = surgeon.inside(home, roughness_mm=6.0)
    mesentery = canvas.field(Ellipsoid(patient.at(4, 52, -62), np.array((44, 34, 46)) * s), box)
    one, two = (canvas.noise(16.0, box, offset_mm=offset) for offset in (140.0, 37.0))
    wide = float(np.clip(rng.normal(0.86 - 0.1 * patient.fat, 0.08), 0.5, 0.95))
    # Thinner towards the root of the mesentery and towards the edge of the loops' home.
    thin = np.clip(-mesentery / 26, 0, 1) + np.clip(1 + where / 10, 0, 1)
    radius = np.sqrt(np.square(one) + np.square(two)) + np.float32(0.55) * thin
    # Where lines come near each other the loops touch, but for a film of fat.
    film = np.abs(canvas.noise(16.0, box, offset_mm=88.0)) < 0.1 * patient.apart
    free = surgeon.free(box) & (trunk.cavity[box] < -1 - 4 * min(1.0, patient.fat)) & ~film
    loop = (radius < wide) & free
    canvas.paint(box, loop, phase.bowel_wall + 4 * canvas.noise(6.0, box, offset_mm=19.0))
    lumen = (radius < wide - 0.2) & free
    contents = canvas.noise(23.0, box, offset_mm=61.0)
    inside = np.where(contents > -0.3, 18.0, phase.bowel_wall - 18.0) + 11 * canvas.noise(
        6.0, box, offset_mm=25.0
    )
    canvas.paint(box, lumen, inside)
    if patient.oral_hu is not None:
        canvas.paint(box, lumen & (contents > -0.9), patient.oral_hu)
    canvas.paint(box, lumen & (contents > 1.35) & (one > -0.1), GAS_HU)
    canvas.owner[box][loop] = BOWEL


def _small_vessels(surgeon: Surgeon) -> None:
    """Paint the thin vessels that run everywhere through the fat of the abdomen."""
    canvas, trunk, phase = surgeon.canvas, surgeon.trunk, surgeon.patient.phase
    box = canvas.around(trunk.below)
    one, two = canvas.noise(11.0, box, offset_mm=171.0), canvas.noise(16.0, box, offset_mm=93.0)
    thread = np.square(one) + np.square(two) < 0.035
    fat = (canvas.owner[box] == 0) & trunk.below[box] & (trunk.cavity[box] < -3)
    canvas.paint(box, thread & fat, 0.6 * phase.portal + 0.1 * phase.aorta)
