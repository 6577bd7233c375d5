"""The thirteen organs and their vessels; the first to be painted keep their place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

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

    def behind(self, box: Box, organ: str) -> Mask:
        """Return what lies behind an organ: others that reach across it stay in front."""
        there = self.canvas.owner[box] == ORGANS[organ]
        return np.asarray(np.logical_or.accumulate(there[:, ::-1], axis=1)[:, ::-1])

    def hold(self, box: Box, field: Floats, distance_mm: float, owner: str | int) -> None:
        """Keep later organs this far away: what is left between two organs is fat, if the patient has any."""
        code = ORGANS[owner] if isinstance(owner, str) else owner
        self.canvas.claim(box, field < distance_mm * self.patient.apart, code)

    def vessel(self, tube: Tube, blood: float, *, over: tuple[str, ...] = ()) -> None:
        """Paint a vessel of the abdomen."""
        box, field = self.inside(tube, roughness_mm=0.4, margin_mm=3.0)
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
    _adrenals(surgeon, _great_vessels(surgeon))
    for side, name in ((1, "right kidney"), (-1, "left kidney")):
        _kidney(surgeon, side, name)
    stomach = _draw_stomach(surgeon.patient)
    splenic = _visceral_vessels(surgeon, stomach)
    _pancreas(surgeon, splenic, stomach)
    _gallbladder(surgeon)
    _duodenum(surgeon)
    _liver(surgeon)
    _spleen(surgeon)
    _stomach(surgeon, stomach)
    _esophagus(surgeon, stomach)


def _liver(surgeon: Surgeon) -> None:
    canvas, patient, trunk = surgeon.canvas, surgeon.patient, surgeon.trunk
    rng, at, phase = patient.rng, patient.at, patient.phase
    size = 1.07 * patient.scale * patient.vary(0.09)
    left, wide, tall = patient.vary(0.3), patient.vary(0.13), patient.vary(0.16)
    lift = patient.dome_mm / patient.scale - 118  # the liver fills the dome
    reach = float(rng.uniform(-40, 12))  # of the lower right edge, up to a Riedel lobe
    shape = Blend(
        (
            Ellipsoid(
                at(78, 28, 58, spread_mm=4, organ="liver") + np.array((0, 0, 0.5 * lift)),
                np.array((59 * wide, 80, (60 + 0.4 * lift) * tall)) * size,
                rotation(y_deg=float(rng.normal(0, 8)), z_deg=float(rng.normal(0, 8))),
            ),
            Ellipsoid(
                at(10, 78, 70 + 0.6 * lift, spread_mm=7, organ="liver"),
                np.array((66 * left, 32 * patient.vary(0.15), 29 * tall)) * size,
                rotation(y_deg=-8 + float(rng.normal(0, 10))),
            ),
            Ellipsoid(
                at(104, 20, 2 + reach, spread_mm=6, organ="liver"),
                np.array((27, 48, 46 * tall)) * size,
                rotation(y_deg=8),
            ),
            # The caudate lobe, in front of the cava.
            Ellipsoid(at(17, 50, 66, spread_mm=4, organ="liver"), np.array((17, 13, 24)) * size),
        ),
        blend_mm=22,
    )
    box, field = surgeon.inside(shape, roughness_mm=1.6, margin_mm=30)
    _fill_dome(surgeon, box, field, 26.0)
    hollow = canvas.field(
        Ellipsoid(at(40, 24, -10, spread_mm=8), np.array((44, 46, 42)) * patient.scale), box
    )
    field = np.maximum(field, -hollow - 2)
    x, y = canvas.points[0][box], canvas.points[1][box]
    spared = np.hypot(x + 10, y - 28) > 19 * patient.scale
    inside = (
        (field < 0) & (trunk.cavity[box] < -1) & (trunk.diaphragm_mm[box] < 0) & (trunk.vertebra[box] > 9)
    )
    liver = inside & spared & (canvas.owner[box] == 0) & ~surgeon.behind(box, "right kidney")
    surgeon.paint(box, liver, phase.liver, "liver")
    surgeon.hold(box, field, 1.5, "liver")
    _liver_vessels(surgeon)
    # The fissure of the falciform ligament.
    part, fissure = surgeon.inside(
        Ellipsoid(at(18, 92, 40, spread_mm=5, organ="liver"), np.array((2.2, 26, 30)))
    )
    slit = (fissure < 0) & (canvas.label[part] == ORGANS["liver"])
    canvas.paint(part, slit, FAT_HU * 0.7)
    canvas.label[part][slit] = 0


def _fill_dome(surgeon: Surgeon, box: Box, field: Floats, reach_mm: float) -> None:
    """Let an organ swell into what is left of the diaphragm's dome above it: nothing else lies there."""
    near = np.clip(1 + surgeon.trunk.diaphragm_mm[box] / 32, 0, 1)
    field -= np.float32(reach_mm) * near


def _liver_vessels(surgeon: Surgeon) -> None:
    """Paint the portal tree from the hilum, and the three veins that drain into the cava."""
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at, phase = patient.rng, patient.at, patient.phase

    def vessel(path: tuple[Vector, ...], radii: tuple[float, ...], blood: float) -> None:
        box, field = surgeon.inside(Tube(path, radii), roughness_mm=0.5, margin_mm=3.0)
        canvas.paint(box, (field < 0) & (canvas.label[box] == ORGANS["liver"]), blood)

    hilum = at(35, 48, 34, spread_mm=4)
    right = at(70, 38, 44, spread_mm=7, organ="liver")
    left = at(10, 70, 58, spread_mm=7, organ="liver")
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
    for place in ((98, 18, 62), (66, 66, 66), (-6, 84, 74)):
        target = at(*place, spread_mm=10, organ="liver")
        middle = 0.5 * (confluence + target) + rng.normal(0, 5, 3)
        vessel((confluence, middle, target), (5.2, 4.2, 2.0), drained)
        for _ in range(2):
            tip = target + rng.normal(0, 17, 3)
            vessel((middle, 0.5 * (middle + tip) + rng.normal(0, 5, 3), tip), (2.8, 2.3, 1.2), drained)


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
    _fill_dome(surgeon, box, field, 9.0)
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


def _great_vessels(surgeon: Surgeon) -> tuple[float, float]:
    """Paint aorta, cava and what they divide into; returns the radii of both in mm."""
    canvas, patient = surgeon.canvas, surgeon.patient
    at, s, phase = patient.at, patient.scale, patient.phase
    wide = 10.3 * s * patient.vary(0.18)
    aorta = Tube(
        (
            # From the heart over the arch, behind the heart, and down.
            at(2, 62, 196),
            at(10, 58, 238),
            at(-2, 40, 268),
            at(-15, 14, 258),
            at(-14, 8, 232, spread_mm=3),
            at(-13, 21, 130, spread_mm=3),
            at(-10, 29, 60, spread_mm=4),
            at(-9, 30, 0, spread_mm=5),
            at(-5, 28, -78, spread_mm=5),
        ),
        tuple(w * wide for w in (1.45, 1.4, 1.3, 1.2, 1.2, 1.12, 1.03, 0.95, 0.85)),
    )
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


def _visceral_vessels(surgeon: Surgeon, stomach: _Stomach) -> Tube:
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


@dataclass(frozen=True)
class _Stomach:
    """The stomach's course from the fundus to the pylorus, and its radius at each point."""

    path: tuple[Vector, ...]
    radii: tuple[float, ...]
    collapsed: bool

    def clear(self, place: Vector, radius_mm: float) -> Vector:
        """Return a place moved behind and below the stomach as far as something of that size needs."""
        for middle, own_mm in zip(self.path[:-1], self.radii[:-1], strict=True):
            way = place - middle
            lack = 0.95 * (own_mm + radius_mm) - float(np.linalg.norm(way))
            if lack > 0:
                place = place + lack * np.array((0.0, -0.75, -0.66))
        return place


def _draw_stomach(patient: Patient) -> _Stomach:
    rng, at = patient.rng, partial(patient.at, organ="stomach")
    size = patient.scale * patient.vary(0.12)
    collapsed = rng.random() < 0.3
    fill = float(rng.uniform(0.4, 0.6) if collapsed else rng.uniform(0.6, 1.5))
    path = (
        at(-54, 24, 96 + 0.8 * (patient.dome_mm / patient.scale - 118), spread_mm=5),
        at(-64, 52, 70, spread_mm=6),
        at(-46, 76, 36 + float(rng.normal(0, 17)), spread_mm=8),
        at(-8, 82, 22, spread_mm=8),
        patient.at(26, 73, 18, spread_mm=5, organ="duodenum"),
    )
    radii = tuple(r * size * (fill if r > 12 else 1.0) for r in (35, 32, 27, 20, 9))
    return _Stomach(path, radii, collapsed)


def _stomach(surgeon: Surgeon, stomach: _Stomach) -> None:
    patient = surgeon.patient
    tube = Tube(stomach.path, stomach.radii, blend_mm=14)
    box, field = surgeon.inside(tube, roughness_mm=2.0, margin_mm=16)
    _fill_dome(surgeon, box, field, 3.0 if stomach.collapsed else 12.0)
    organ = (field < 0) & surgeon.free(box)
    surgeon.paint(box, organ, patient.phase.bowel_wall + 6, "stomach", grain=6)
    surgeon.hold(box, field, 1.5, "stomach")
    lumen = organ & (field < -float(patient.rng.uniform(2.5, 5.5)) * patient.scale)
    _fill_stomach(surgeon, box, lumen, stomach)


def _esophagus(surgeon: Surgeon, stomach: _Stomach) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at = patient.rng, patient.at
    # Where the esophagus comes through the diaphragm, in front of the aorta, it turns to the stomach.
    cardia = at(-24, 46, 100, spread_mm=3) + 0.4 * patient.moved_mm["stomach"]
    gullet = Tube(
        (
            at(0, 12, 350),
            at(-4, 18, 240),
            at(-8, 35, 142, spread_mm=3),
            at(-13, 42, 118, spread_mm=3),
            cardia,
            0.65 * cardia + 0.35 * stomach.path[0],
        ),
        tuple(r * patient.vary(0.12) for r in (7.5, 8, 8.6, 8.6, 8.8, 8.5)),
    )
    box, field = surgeon.inside(gullet, roughness_mm=0.9, grain_mm=11.0)
    tube = (field < 0) & np.isin(canvas.owner[box], (0, ORGANS["liver"], ORGANS["stomach"]))
    tube &= canvas.label[box] != ORGANS["stomach"]
    surgeon.paint(box, tube, patient.phase.bowel_wall, "esophagus")
    if rng.random() < 0.5:
        air = (field < -5.0) & tube & (canvas.noise(23.0, box, offset_mm=12.0) > 0.3)
        canvas.paint(box, air, -700.0)


def _fill_stomach(surgeon: Surgeon, box: Box, lumen: Mask, stomach: _Stomach) -> None:
    """Paint fluid, food or gas, a third of the patients each; gas rises to the front."""
    canvas, patient = surgeon.canvas, surgeon.patient
    rng = patient.rng
    coarse, fine = canvas.noise(11.0, box, offset_mm=33.0), canvas.noise(6.0, box, offset_mm=80.0)
    kind = int(rng.integers(0, 3))
    fluid, chyme, bubbles = (
        float(rng.uniform(0, 30)),
        float(rng.uniform(25, 95)),
        float(rng.uniform(1.2, 2.6)),
    )
    gas = float((rng.uniform(0.85, 1.0), rng.uniform(0.75, 1.0), rng.uniform(0.2, 0.7))[kind])
    if patient.oral_hu is not None:
        contents = patient.oral_hu + 12 * coarse
    elif kind == 1:
        contents = chyme + 22 * coarse + 14 * fine - 600 * np.clip(fine - bubbles, 0, 1)
    else:
        contents = fluid + 5 * coarse
    canvas.paint(box, lumen, np.asarray(contents, np.float32))
    # The patient lies on the back: gas over a level surface.
    ends = [(point[1], radius) for point, radius in zip(stomach.path, stomach.radii, strict=True)]
    back, front = min(y - radius for y, radius in ends), max(y + radius for y, radius in ends)
    height = canvas.axes_mm[1][box[1]][None, :, None]
    canvas.paint(box, lumen & (height > back + gas * (front - back)), GAS_HU)


def _pancreas(surgeon: Surgeon, splenic: Tube, stomach: _Stomach) -> None:
    canvas, patient = surgeon.canvas, surgeon.patient
    rng, at = patient.rng, partial(patient.at, organ="pancreas")
    size = patient.scale * patient.vary(0.2)
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
