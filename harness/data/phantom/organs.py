"""The thirteen organs and what lies between them, from the back of the painting order to the front."""

from __future__ import annotations

import numpy as np

from harness.data.phantom.canvas import Box, Canvas, Mask
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import ORGANS, Patient
from harness.data.phantom.shapes import Blend, Ellipsoid, Shape, Tube, rotation
from harness.data.phantom.trunk import FAT_HU, Trunk

GAS_HU = -960.0


class Surgeon:
    """Puts shapes into a canvas: keeps them in the cavity and off what is there already."""

    def __init__(self, canvas: Canvas, patient: Patient, trunk: Trunk) -> None:
        self.canvas, self.patient, self.trunk = canvas, patient, trunk

    def inside(
        self, shape: Shape, *, roughness_mm: float = 1.0, grain_mm: float = 23.0, margin_mm: float = 8.0
    ) -> tuple[Box, Floats]:
        """Return a shape's box and field, its surface made uneven."""
        box = self.canvas.box(shape, margin_mm)
        offset = float(self.patient.rng.uniform(0, 200))
        return box, self.canvas.field(shape, box) + roughness_mm * self.canvas.noise(
            grain_mm, box, offset_mm=offset
        )

    def free(self, box: Box, *, over: tuple[str, ...] = ()) -> Mask:
        """Return where the abdominal cavity holds no organ yet, or one of those named."""
        label = self.canvas.label[box]
        allowed = label == 0
        for organ in over:
            allowed |= label == ORGANS[organ]
        return np.asarray(self.trunk.below[box] & allowed)

    def paint(self, box: Box, mask: Mask, hu: float, organ: str | None = None, *, grain: float = 4.0) -> None:
        """Paint a parenchyma with its texture."""
        texture = self.canvas.noise(6.0, box, offset_mm=13.0)
        self.canvas.paint(box, mask, hu + grain * texture, ORGANS[organ] if organ else None)


def paint_organs(canvas: Canvas, patient: Patient, trunk: Trunk) -> None:
    """Paint bowel, organs and vessels; later ones give way to earlier ones unless said otherwise."""
    surgeon = Surgeon(canvas, patient, trunk)
    _bowel(surgeon)
    _liver(surgeon)
    _spleen(surgeon)
    for side, name in ((1, "right kidney"), (-1, "left kidney")):
        _kidney(surgeon, side, name)
    _great_vessels(surgeon)
    _stomach_and_esophagus(surgeon)
    splenic = _visceral_vessels(surgeon)
    _pancreas(surgeon, splenic)
    _duodenum(surgeon)
    _gallbladder(surgeon)
    _adrenals(surgeon)


def _gut(surgeon: Surgeon, path: list[np.ndarray], radii: list[float], *, stool: bool, gas: float) -> None:
    """Paint a piece of bowel: wall, contents, and gas that rises to the front."""
    canvas, phase = surgeon.canvas, surgeon.patient.phase
    box, field = surgeon.inside(Tube(tuple(path), tuple(radii)), roughness_mm=1.5, grain_mm=11.0)
    free = surgeon.free(box)
    canvas.paint(box, (field < 0) & free, phase.bowel_wall)
    lumen = (field < -2.2) & free
    coarse = canvas.noise(11.0, box, offset_mm=5.0)
    contents = 22 + 12 * coarse
    if stool:
        contents = 25 + 25 * coarse - 160 * np.maximum(canvas.noise(6.0, box, offset_mm=3.0) - 0.9, 0)
    canvas.paint(box, lumen, contents)
    height = canvas.points[1][box] - np.float32(np.mean([point[1] for point in path]))
    canvas.paint(box, lumen & (height / 12 + coarse > gas), GAS_HU)


def _bowel(surgeon: Surgeon) -> None:
    patient = surgeon.patient
    rng, at, s = patient.rng, patient.at, patient.scale
    for _ in range(int(rng.integers(20, 34))):
        path = [at(rng.uniform(-80, 80), rng.uniform(40, 108), rng.uniform(-170, -22))]
        for _ in range(4):
            path.append(path[-1] + rng.normal(0, 1, 3) * (22, 13, 15))
        wide = float(rng.uniform(9, 13)) * s
        _gut(surgeon, path, [wide] * 5, stool=False, gas=float(rng.normal(2.4, 0.7)))
    colon = (
        ([at(98, 12, -170, spread_mm=6), at(100, 22, -80, spread_mm=6), at(92, 42, -25, spread_mm=6)], 25),
        (
            [
                at(90, 52, -22, spread_mm=6),
                at(48, 96, -35, spread_mm=9),
                at(0, 106, -42, spread_mm=9),
                at(-58, 96, -4, spread_mm=9),
                at(-98, 42, 34, spread_mm=6),
            ],
            19,
        ),
        ([at(-101, 30, 38, spread_mm=5), at(-106, 6, -40, spread_mm=5), at(-104, 12, -170, spread_mm=6)], 14),
    )
    for path, wide in colon:
        radii = [wide * s * patient.vary(0.15)] * len(path)
        _gut(surgeon, path, radii, stool=True, gas=float(rng.normal(1.1, 0.8)))


def _liver(surgeon: Surgeon) -> None:
    canvas, patient, trunk = surgeon.canvas, surgeon.patient, surgeon.trunk
    rng, at, phase = patient.rng, patient.at, patient.phase
    size = patient.scale * patient.vary(0.08)
    left = patient.vary(0.16)
    shape = Blend(
        (
            Ellipsoid(at(80, 28, 54, spread_mm=5), np.array((68, 84, 66)) * size),
            Ellipsoid(at(10, 80, 72, spread_mm=6), np.array((80 * left, 33, 31)) * size, rotation(y_deg=-8)),
            Ellipsoid(
                at(108, 20, -4 - 18 * rng.random(), spread_mm=5),
                np.array((28, 50, 54)) * size,
                rotation(y_deg=8),
            ),
        ),
        blend_mm=22,
    )
    box, field = surgeon.inside(shape, roughness_mm=1.6)
    hollow = canvas.field(
        Ellipsoid(at(40, 24, -10, spread_mm=4), np.array((44, 46, 42)) * patient.scale), box
    )
    field = np.maximum(field, -hollow - 2)
    x, y = canvas.points[0][box], canvas.points[1][box]
    spared = np.hypot(x + 10, y - 28) > 19 * patient.scale
    inside = (field < 0) & (trunk.cavity[box] < 0) & (trunk.diaphragm_mm[box] < 0) & (trunk.vertebra[box] > 9)
    liver = inside & spared
    surgeon.paint(box, liver, phase.liver, "liver")
    hilum = at(35, 48, 34, spread_mm=3)
    for _ in range(int(rng.integers(9, 15))):
        way = rng.normal(0, 1, 3) * (1, 0.8, 0.6) + (0.8, 0, 0.4)
        way /= np.linalg.norm(way)
        branch = Tube(
            (hilum, hilum + 30 * way + rng.normal(0, 6, 3), hilum + 64 * way + rng.normal(0, 12, 3)),
            (5.0, 3.4, 1.3),
        )
        part, vessel = surgeon.inside(branch, roughness_mm=0.3)
        canvas.paint(part, (vessel < 0) & (canvas.label[part] == ORGANS["liver"]), phase.portal)
    confluence = at(22, 44, 104)
    for target in (at(88, 20, 70), at(62, 62, 74), at(8, 84, 74)):
        part, vessel = surgeon.inside(Tube((confluence, target), (5.0, 1.6)), roughness_mm=0.5)
        drained = 0.9 * phase.portal if phase.name != "arterial" else phase.liver
        canvas.paint(part, (vessel < 0) & (canvas.label[part] == ORGANS["liver"]), drained)
    # The fissure of the falciform ligament.
    part, fissure = surgeon.inside(Ellipsoid(at(18, 92, 40, spread_mm=3), np.array((2.2, 26, 30))))
    slit = (fissure < 0) & (canvas.label[part] == ORGANS["liver"])
    canvas.paint(part, slit, FAT_HU * 0.7)
    canvas.label[part][slit] = 0


def _spleen(surgeon: Surgeon) -> None:
    patient, canvas, trunk = surgeon.patient, surgeon.canvas, surgeon.trunk
    if "spleen" in patient.missing:
        return
    size, turn = patient.scale * patient.vary(0.15), rotation(x_deg=-15, z_deg=-25)
    centre = patient.at(-104, -6, 58, spread_mm=5)
    box, field = surgeon.inside(Ellipsoid(centre, np.array((29, 50, 55)) * size, turn), roughness_mm=1.2)
    hilum = canvas.field(Ellipsoid(centre + np.array((44, 26, -6)), np.array((36, 42, 55)) * size), box)
    inside = (np.maximum(field, -hilum) < 0) & (trunk.cavity[box] < 0) & (trunk.diaphragm_mm[box] < 0)
    surgeon.paint(box, inside & (canvas.label[box] == 0), patient.phase.spleen)
    if patient.phase.name == "arterial":  # the moire pattern of the red pulp
        moire = patient.phase.spleen + 25 * canvas.noise(11.0, box, offset_mm=66.0)
        canvas.paint(box, inside & (canvas.label[box] == 0), moire)
    canvas.label[box][inside & (canvas.label[box] == 0)] = ORGANS["spleen"]


def _kidney(surgeon: Surgeon, side: int, name: str) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    if name in patient.missing:
        return
    rng, s, phase = patient.rng, patient.scale, patient.phase
    # A single kidney is larger than one of two.
    grown = 1.15 if {"right kidney", "left kidney"} & patient.missing else 1.0
    size = s * patient.vary(0.08) * grown
    centre = patient.at(61 * side, -17, -12 if side > 0 else 2, spread_mm=5)
    turn = rotation(y_deg=-13 * side, z_deg=25 * side)
    radii = np.array((26, 30, 57)) * size
    box, field = surgeon.inside(Ellipsoid(centre, radii, turn))
    sinus = canvas.field(
        Ellipsoid(centre + np.array((-side * 17, 9, 0)) * s, np.array((19, 13, 26)) * size, turn), box
    )
    free = surgeon.free(box)
    pyramids = (field < -8) & (canvas.noise(11.0, box, offset_mm=90.0) > -0.4)
    parenchyma = np.where(pyramids, phase.medulla, phase.cortex) + 4 * canvas.noise(6.0, box)
    canvas.paint(box, (field < 0) & (sinus > 0) & free, parenchyma, ORGANS[name])
    canvas.paint(box, (sinus < 0) & (field < 2) & free, FAT_HU)
    urine = 260.0 if phase.name == "delayed" else 14.0
    pelvis = Tube(
        (centre + np.array((-side * 8, 7, 2)) * s, centre + np.array((-side * 24, 10, -22)) * s), (6, 3.5)
    )
    part, drain = surgeon.inside(pelvis, roughness_mm=0.5)
    canvas.paint(part, (drain < 0) & surgeon.free(part), urine)
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
    canvas.paint(part, (field < 0) & surgeon.free(part), 0.92 * phase.cava + 0.08 * phase.portal)


def _great_vessels(surgeon: Surgeon) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    at, s, phase = patient.at, patient.scale, patient.phase
    wide = 10.3 * s * patient.vary(0.11)
    aorta = Tube(
        (
            at(-14, 8, 240),
            at(-13, 21, 130),
            at(-10, 29, 60, spread_mm=2),
            at(-9, 30, 0, spread_mm=3),
            at(-5, 28, -78, spread_mm=3),
        ),
        (1.2 * wide, 1.12 * wide, 1.03 * wide, 0.95 * wide, 0.85 * wide),
    )
    box, field = surgeon.inside(aorta, roughness_mm=0.5)
    surgeon.paint(box, field < 0, phase.aorta, "aorta", grain=3)
    if patient.rng.random() < 0.45:  # calcified plaques, which belong to the aorta
        plaque = (field < 0) & (field > -2.2) & (canvas.noise(11.0, box, offset_mm=120.0) > 1.7)
        canvas.paint(box, plaque, 480.0)
    wide = 10.8 * s * patient.vary(0.13)
    cava = Tube(
        (
            at(16, 22, -88),
            at(19, 25, -20, spread_mm=2),
            at(22, 28, 45, spread_mm=2),
            at(24, 38, 88),
            at(20, 46, 122),
        ),
        (0.9 * wide, wide, wide, 1.15 * wide, 1.2 * wide),
        flat=1.5,
    )
    box, field = surgeon.inside(cava, roughness_mm=0.6)
    hu = phase.cava + 6 * canvas.noise(11.0, box, offset_mm=150.0)
    canvas.paint(box, (field < 0) & (canvas.label[box] != ORGANS["aorta"]), hu, ORGANS["inferior vena cava"])
    for side in (1, -1):
        artery = Tube((at(-5, 28, -80), at(side * 28, 20, -125), at(side * 52, 25, -200)), (7, 6.5, 6))
        vein = Tube((at(16, 22, -90), at(side * 34, 10, -125), at(side * 55, 12, -200)), (8, 7, 7))
        for vessel, blood in ((vein, phase.cava), (artery, phase.aorta)):
            box, field = surgeon.inside(vessel, roughness_mm=0.4)
            canvas.paint(box, (field < 0) & surgeon.free(box), blood)


def _visceral_vessels(surgeon: Surgeon) -> Tube:
    """Paint mesenteric, portal and splenic vessels; returns the splenic vein."""
    canvas, at, phase = surgeon.canvas, surgeon.patient.at, surgeon.patient.phase
    splenic = Tube((at(6, 50, 9), at(-35, 38, 22), at(-84, 10, 42)), (4.5, 4.3, 3.8))
    vessels = (
        (Tube((at(-8, 36, 8), at(-4, 58, -25), at(2, 66, -90)), (4, 3.8, 3)), phase.aorta),
        (Tube((at(-9, 36, 26), at(-8, 50, 30), at(20, 52, 34)), (3.6, 3.4, 2.6)), phase.aorta),
        (Tube((at(9, 54, 4), at(9, 66, -30), at(11, 72, -90)), (5.5, 5.5, 4)), phase.portal),
        (Tube((at(7, 50, 8), at(22, 47, 20), at(35, 48, 34)), (6.5, 6.5, 6)), phase.portal),
        (splenic, phase.portal),
    )
    for vessel, blood in vessels:
        box, field = surgeon.inside(vessel, roughness_mm=0.3)
        canvas.paint(box, (field < 0) & surgeon.free(box), blood)
    return splenic


def _stomach_and_esophagus(surgeon: Surgeon) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at, phase = patient.rng, patient.at, patient.phase
    fill, size = float(rng.uniform(0.62, 1.25)), patient.scale * patient.vary(0.1)
    fundus = at(-58, 26, 86, spread_mm=5)
    path = (
        fundus,
        at(-66, 55, 56, spread_mm=5),
        at(-44, 82, 20, spread_mm=7),
        at(-6, 88, 8, spread_mm=6),
        at(28, 73, 14, spread_mm=4),
    )
    radii = tuple(r * size * (fill if r > 12 else 1.0) for r in (35, 32, 27, 20, 10))
    box, field = surgeon.inside(Tube(path, radii, blend_mm=14), roughness_mm=1.8)
    organ = (field < 0) & surgeon.free(box)
    surgeon.paint(box, organ, phase.bowel_wall + 6, "stomach", grain=6)
    lumen = organ & (field < -4.0 * patient.scale)
    if lumen.any():
        height = canvas.points[1][box]
        level = float(np.quantile(height[lumen], rng.uniform(0.15, 0.95)))
        coarse = canvas.noise(11.0, box, offset_mm=33.0)
        food = float(rng.uniform(180, 320)) if rng.random() < 0.15 else float(rng.uniform(4, 45))
        canvas.paint(box, lumen, food + 10 * coarse)
        canvas.paint(box, lumen & (height > level + 0.6 * coarse), GAS_HU)
    cardia = fundus + np.array((13, 5, 8)) * patient.scale
    gullet = Tube((at(-6, 22, 220), at(-8, 35, 142), at(-14, 41, 118), cardia), (8, 8.6, 8.6, 8.5))
    box, field = surgeon.inside(gullet, roughness_mm=0.9, grain_mm=11.0)
    label = canvas.label[box]
    tube = (field < 0) & ((label == 0) | (label == ORGANS["liver"]))
    surgeon.paint(box, tube, phase.bowel_wall, "esophagus")
    if rng.random() < 0.5:
        air = (field < -5.0) & tube & (canvas.noise(23.0, box, offset_mm=12.0) > 0.3)
        canvas.paint(box, air, -700.0)


def _pancreas(surgeon: Surgeon, splenic: Tube) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    at, size = patient.at, patient.scale * patient.vary(0.1)
    path = (
        at(36, 52, -24, spread_mm=4),
        at(34, 56, 2, spread_mm=3),
        at(6, 62, 14, spread_mm=4),
        at(-34, 50, 27, spread_mm=5),
        at(-82, 16, 45, spread_mm=5),
    )
    box, field = surgeon.inside(
        Tube(path, tuple(r * size for r in (13, 16, 11, 12.5, 11))), roughness_mm=1.6, grain_mm=11.0
    )
    lobules = canvas.noise(6.0, box, offset_mm=44.0)
    inside = (field + 1.3 * lobules < 0) & surgeon.free(box) & (canvas.field(splenic, box) > 0)
    fatty = lobules > 2.2 - 0.5 * patient.fat
    hu = np.where(fatty, FAT_HU * 0.4, patient.phase.pancreas + 5 * lobules)
    canvas.paint(box, inside, hu, ORGANS["pancreas"])


def _duodenum(surgeon: Surgeon) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    at, size = patient.at, patient.scale * patient.vary(0.1)
    path = (
        at(31, 73, 14, spread_mm=3),
        at(51, 62, 12, spread_mm=4),
        at(60, 44, -15, spread_mm=4),
        at(53, 38, -50, spread_mm=5),
        at(15, 42, -60, spread_mm=4),
        at(-24, 46, -42, spread_mm=5),
    )
    radii = tuple(r * size for r in (12, 12, 13, 13, 12, 11))
    box, field = surgeon.inside(Tube(path, radii), roughness_mm=1.4, grain_mm=11.0)
    inside = (field < 0) & surgeon.free(box)
    surgeon.paint(box, inside, patient.phase.bowel_wall, "duodenum", grain=6)
    coarse = canvas.noise(11.0, box, offset_mm=88.0)
    lumen = inside & (field < -3.5)
    canvas.paint(box, lumen & (coarse < 0), 20.0)
    canvas.paint(box, lumen & (coarse > 1.2), -900.0)


def _gallbladder(surgeon: Surgeon) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    if "gallbladder" in patient.missing:
        return
    size = patient.scale * patient.vary(0.2)
    shape = Ellipsoid(patient.at(54, 74, 12, spread_mm=6), np.array((14, 16, 29)) * size, rotation(x_deg=35))
    box, field = surgeon.inside(shape, roughness_mm=0.7)
    inside = (field < 0) & surgeon.free(box, over=("liver",))
    surgeon.paint(box, inside, float(patient.rng.uniform(2, 18)), "gallbladder", grain=2)
    canvas.paint(box, inside & (field > -1.6), 0.5 * patient.phase.bowel_wall)
    if patient.rng.random() < 0.12:
        stones = inside & (canvas.noise(6.0, box, offset_mm=71.0) > 1.2) & (field < -6)
        canvas.paint(box, stones, 220.0)


def _adrenals(surgeon: Surgeon) -> None:
    patient = surgeon.patient
    for name, side, home in (
        ("right adrenal gland", 1, (30, 4, 52)),
        ("left adrenal gland", -1, (-32, 8, 46)),
    ):
        if name in patient.missing:
            continue
        thick = 4.1 * patient.vary(0.13)
        body = patient.at(*home, spread_mm=2.5)
        front = body + np.array((0, 8, 9))
        limbs = Blend(
            (
                Tube((front, body, body + np.array((side * 10, -15, -7))), (thick, thick, 0.75 * thick)),
                Tube((body, body + np.array((-side * 2, -17, -9))), (thick, 0.75 * thick)),
                Tube((body + np.array((0, 6, 16)), body), (0.8 * thick, thick)),
            ),
            blend_mm=2,
        )
        box, field = surgeon.inside(limbs, roughness_mm=0.5, grain_mm=11.0)
        inside = (field < 0) & surgeon.free(box, over=("liver",))
        surgeon.paint(box, inside, patient.phase.pancreas + 8, name)
