"""The thirteen organs and their vessels; the first to be painted keep their place."""

from __future__ import annotations

import numpy as np

from harness.data.phantom.canvas import VESSEL, Box, Canvas, Mask
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import FAT_HU, ORGANS, Patient
from harness.data.phantom.shapes import Blend, Ellipsoid, Shape, Tube, Vector, rotation
from harness.data.phantom.trunk import Trunk

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
        owner = self.canvas.owner[box]
        allowed = owner == 0
        for organ in over:
            allowed |= owner == ORGANS[organ]
        return np.asarray(self.trunk.below[box] & allowed)

    def hold(self, box: Box, field: Floats, distance_mm: float, owner: str | int) -> None:
        """Keep later organs this far away: what is left between two organs is fat."""
        code = ORGANS[owner] if isinstance(owner, str) else owner
        self.canvas.claim(box, field < distance_mm, code)

    def vessel(self, tube: Tube, blood: float, *, over: tuple[str, ...] = ()) -> None:
        """Paint a vessel of the abdomen."""
        box, field = self.inside(tube, roughness_mm=0.4)
        mask = (field < 0) & self.free(box, over=over)
        self.canvas.paint(box, mask, blood)
        self.canvas.owner[box][mask] = VESSEL
        self.hold(box, field, 0.8, VESSEL)

    def paint(self, box: Box, mask: Mask, hu: float, organ: str | None = None, *, grain: float = 4.0) -> None:
        """Paint a parenchyma with its texture."""
        texture = self.canvas.noise(6.0, box, offset_mm=13.0)
        self.canvas.paint(box, mask, hu + grain * texture, ORGANS[organ] if organ else None)


def paint_organs(surgeon: Surgeon) -> None:
    """Paint organs and vessels; later ones give way to earlier ones unless said otherwise."""
    _great_vessels(surgeon)
    _adrenals(surgeon)
    for side, name in ((1, "right kidney"), (-1, "left kidney")):
        _kidney(surgeon, side, name)
    splenic = _visceral_vessels(surgeon)
    _pancreas(surgeon, splenic)
    _gallbladder(surgeon)
    _duodenum(surgeon)
    _liver(surgeon)
    _spleen(surgeon)
    _stomach_and_esophagus(surgeon)


def _liver(surgeon: Surgeon) -> None:
    canvas, patient, trunk = surgeon.canvas, surgeon.patient, surgeon.trunk
    rng, at, phase = patient.rng, patient.at, patient.phase
    size = 1.13 * patient.scale * patient.vary(0.08)
    left = patient.vary(0.16)
    lift = patient.dome_mm / patient.scale - 118  # the liver fills the dome
    shape = Blend(
        (
            Ellipsoid(
                at(80, 28, 54, spread_mm=5) + np.array((0, 0, 0.5 * lift)),
                np.array((68, 84, 70 + 0.5 * lift)) * size,
            ),
            Ellipsoid(
                at(8, 80, 70 + 0.6 * lift, spread_mm=6),
                np.array((80 * left, 33, 31)) * size,
                rotation(y_deg=-8),
            ),
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
    inside = (
        (field < 0) & (trunk.cavity[box] < -1) & (trunk.diaphragm_mm[box] < 0) & (trunk.vertebra[box] > 9)
    )
    liver = inside & spared & (canvas.owner[box] == 0)
    surgeon.paint(box, liver, phase.liver, "liver")
    surgeon.hold(box, field, 1.5, "liver")
    _liver_vessels(surgeon)
    # The fissure of the falciform ligament.
    part, fissure = surgeon.inside(Ellipsoid(at(18, 92, 40, spread_mm=3), np.array((2.2, 26, 30))))
    slit = (fissure < 0) & (canvas.label[part] == ORGANS["liver"])
    canvas.paint(part, slit, FAT_HU * 0.7)
    canvas.label[part][slit] = 0


def _liver_vessels(surgeon: Surgeon) -> None:
    """Paint the portal tree from the hilum, and the three veins that drain into the cava."""
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at, phase = patient.rng, patient.at, patient.phase

    def vessel(path: tuple[Vector, ...], radii: tuple[float, ...], blood: float) -> None:
        box, field = surgeon.inside(Tube(path, radii), roughness_mm=0.5)
        canvas.paint(box, (field < 0) & (canvas.label[box] == ORGANS["liver"]), blood)

    hilum = at(35, 48, 34, spread_mm=3)
    right, left = at(70, 38, 44, spread_mm=4), at(10, 70, 58, spread_mm=4)
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
    for target in (at(98, 18, 62, spread_mm=8), at(66, 66, 66, spread_mm=8), at(-6, 84, 74, spread_mm=8)):
        middle = 0.5 * (confluence + target) + rng.normal(0, 5, 3)
        vessel((confluence, middle, target), (5.2, 4.2, 2.0), drained)
        for _ in range(2):
            tip = target + rng.normal(0, 17, 3)
            vessel((middle, 0.5 * (middle + tip) + rng.normal(0, 5, 3), tip), (2.8, 2.3, 1.2), drained)


def _spleen(surgeon: Surgeon) -> None:
    patient, canvas, trunk = surgeon.patient, surgeon.canvas, surgeon.trunk
    if "spleen" in patient.missing:
        return
    size, turn = patient.scale * patient.vary(0.15), rotation(x_deg=-15, z_deg=-25)
    centre = patient.at(-102, -6, 56 + 0.5 * (patient.dome_mm / patient.scale - 118), spread_mm=5)
    box, field = surgeon.inside(Ellipsoid(centre, np.array((33, 52, 57)) * size, turn), roughness_mm=1.2)
    hilum = canvas.field(Ellipsoid(centre + np.array((44, 26, -6)), np.array((36, 42, 55)) * size), box)
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
    size = s * patient.vary(0.08) * grown
    centre = patient.at(62 * side, -9, -12 if side > 0 else 2, spread_mm=4)
    turn = rotation(y_deg=-13 * side, z_deg=25 * side)
    radii = np.array((26.5, 30.5, 57.5)) * size
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


def _visceral_vessels(surgeon: Surgeon) -> Tube:
    """Paint mesenteric, portal and splenic vessels; returns the splenic vein."""
    at, phase = surgeon.patient.at, surgeon.patient.phase
    splenic = Tube((at(6, 50, 9), at(-35, 38, 22), at(-84, 10, 42)), (4.5, 4.3, 3.8))
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


def _stomach_and_esophagus(surgeon: Surgeon) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at, phase = patient.rng, patient.at, patient.phase
    fill, size = float(rng.uniform(0.62, 1.25)), patient.scale * patient.vary(0.1)
    fundus = at(-58, 24, 88 + 0.8 * (patient.dome_mm / patient.scale - 118), spread_mm=4)
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
    surgeon.hold(box, field, 1.5, "stomach")
    lumen = organ & (field < -4.0 * patient.scale)
    coarse = canvas.noise(11.0, box, offset_mm=33.0)
    full, fed = float(rng.uniform(0.5, 1.0)), rng.random() < 0.15
    food = float(rng.uniform(180, 320) if fed else rng.uniform(4, 45))
    canvas.paint(box, lumen, food + 10 * coarse)
    # The patient lies on the back: gas over a level surface.
    back = min(float(point[1]) - radius for point, radius in zip(path, radii, strict=True))
    front = max(float(point[1]) + radius for point, radius in zip(path, radii, strict=True))
    height = canvas.axes_mm[1][box[1]][None, :, None]
    canvas.paint(box, lumen & (height > back + full * (front - back)), GAS_HU)
    cardia = fundus + np.array((13, 5, 8)) * patient.scale
    gullet = Tube((at(-6, 22, 220), at(-8, 35, 142), at(-14, 41, 118), cardia), (8, 8.6, 8.6, 8.5))
    box, field = surgeon.inside(gullet, roughness_mm=0.9, grain_mm=11.0)
    tube = (field < 0) & np.isin(canvas.owner[box], (0, ORGANS["liver"], ORGANS["stomach"]))
    tube &= canvas.label[box] != ORGANS["stomach"]
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
        Tube(path, tuple(r * size for r in (13.6, 16.5, 11.2, 12.7, 11.2))), roughness_mm=1.6, grain_mm=11.0
    )
    lobules = canvas.noise(6.0, box, offset_mm=44.0)
    inside = (field + 1.3 * lobules < 0) & surgeon.free(box) & (canvas.field(splenic, box) > 0)
    fatty = lobules > 2.2 - 0.5 * patient.fat
    hu = np.where(fatty, FAT_HU * 0.4, patient.phase.pancreas + 5 * lobules)
    canvas.paint(box, inside, hu, ORGANS["pancreas"])
    surgeon.hold(box, field, 2.0, "pancreas")


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
    surgeon.hold(box, field, 1.2, "duodenum")
    coarse = canvas.noise(11.0, box, offset_mm=88.0)
    lumen = inside & (field < -3.5)
    canvas.paint(box, lumen & (coarse < 0), 20.0)
    canvas.paint(box, lumen & (coarse > 1.2), -900.0)


def _gallbladder(surgeon: Surgeon) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    if "gallbladder" in patient.missing:
        return
    size = patient.scale * patient.vary(0.2)
    shape = Ellipsoid(patient.at(54, 74, 12, spread_mm=6), np.array((17, 19, 34)) * size, rotation(x_deg=35))
    box, field = surgeon.inside(shape, roughness_mm=0.7)
    inside = (field < 0) & surgeon.free(box)
    surgeon.paint(box, inside, float(patient.rng.uniform(2, 18)), "gallbladder", grain=2)
    surgeon.hold(box, field, 1.2, "gallbladder")
    canvas.paint(box, inside & (field > -1.6), 0.5 * patient.phase.bowel_wall)
    if patient.rng.random() < 0.12:
        stones = inside & (canvas.noise(6.0, box, offset_mm=71.0) > 1.2) & (field < -6)
        canvas.paint(box, stones, 220.0)


def _adrenals(surgeon: Surgeon) -> None:
    patient = surgeon.patient
    for name, side, home in (
        ("right adrenal gland", 1, (32, 8, 52)),
        ("left adrenal gland", -1, (-34, 10, 46)),
    ):
        if name in patient.missing:
            continue
        thick = 3.9 * patient.vary(0.13)
        body = patient.at(*home, spread_mm=2.5)
        limbs = Blend(
            (
                Tube((body + np.array((0, 8, 14)), body + np.array((0, 1, -9))), (0.8 * thick, thick)),
                # Two thin leaves that part to the back, as an inverted Y in the axial plane.
                _leaf(body, side * 30.0, thick),
                _leaf(body, side * -15.0, thick),
            ),
            blend_mm=2.5,
        )
        box, field = surgeon.inside(limbs, roughness_mm=0.4, grain_mm=11.0)
        surgeon.paint(box, (field < 0) & surgeon.free(box), patient.phase.pancreas + 8, name)
        surgeon.hold(box, field, 1.8, name)


def _leaf(body: Vector, z_deg: float, thick_mm: float) -> Ellipsoid:
    """Return one limb of an adrenal gland, which leaves its body to the back."""
    turn = rotation(z_deg=z_deg)
    return Ellipsoid(body - 9.0 * turn[:, 1], np.array((0.78 * thick_mm, 13.0, 14.5)), turn)
