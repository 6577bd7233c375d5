"""Who is scanned, and how: everything that is drawn once per patient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.interpolate import PchipInterpolator

from harness.data.phantom.fields import Floats

ORGANS = {
    "liver": 1,
    "right kidney": 2,
    "spleen": 3,
    "pancreas": 4,
    "aorta": 5,
    "inferior vena cava": 6,
    "right adrenal gland": 7,
    "left adrenal gland": 8,
    "gallbladder": 9,
    "esophagus": 10,
    "stomach": 11,
    "duodenum": 12,
    "left kidney": 13,
}
TUMOUR = 14

FAT_HU = -105.0


@dataclass(frozen=True)
class Phase:
    """Typical HU of the tissues that take up contrast medium, in one contrast phase."""

    name: str
    liver: float
    spleen: float
    cortex: float
    medulla: float
    pancreas: float
    aorta: float
    cava: float
    portal: float
    muscle: float
    bowel_wall: float
    adrenal: float


PHASES = (
    Phase("native", 57, 48, 32, 32, 28, 42, 40, 42, 48, 40, 26),
    Phase("arterial", 68, 110, 170, 70, 100, 300, 75, 145, 58, 75, 80),
    Phase("portal venous", 112, 122, 190, 170, 105, 155, 140, 165, 62, 82, 85),
    Phase("delayed", 92, 95, 150, 160, 80, 110, 110, 110, 60, 68, 62),
)
_RANGES_HU: dict[str, dict[str, tuple[float, float]]] = {
    "native": {"cortex": (16, 50), "pancreas": (-5, 55), "adrenal": (0, 50), "spleen": (30, 65)},
    "portal venous": {"cortex": (130, 260)},
}
"""Tissues that differ between patients and scanners by more than a spread round the typical value says."""

_MUSCLE_RANGE_HU = (22.0, 70.0)
_SPINE_Z_MM = (-290, -240, -200, -160, -128, -95, -50, 0, 50, 100, 150, 200, 260, 330, 400)
_SPINE_FORWARD_MM = (-34, -42, -34, -12, 3, 13, 15, 10, 2, -6, -11, -14, -14, -10, 6)
"""Curve of the spine of the average adult on the table: lumbar lordosis, sacrum, thoracic kyphosis."""

_APART_MM: dict[str, float] = {
    "liver": 9,
    "right kidney": 7,
    "left kidney": 7,
    "spleen": 10,
    "pancreas": 8,
    "stomach": 11,
    "duodenum": 8,
    "right adrenal gland": 6,
    "left adrenal gland": 6,
    "gallbladder": 12,
}
"""Standard deviation of each organ's place round its typical one, along each axis."""

_WALLS: dict[str, tuple[tuple[int, int], ...]] = {
    # Axis, and on which side of the organ the wall or a muscle lies.
    "spleen": ((0, -1), (1, -1)),
    "right kidney": ((0, -1), (1, -1)),
    "left kidney": ((0, 1), (1, -1)),
    "liver": ((0, 1), (1, -1)),
}
_INTO_WALL = 0.4
_HALF_WIDTH_MM, _HALF_DEPTH_MM, _MIDDLE_Y_MM = 150.0, 100.0, 32.0

_LEAN, _LEAN_SHARE = 0.4, 0.35
_TOUCHING_SHARE = 0.4
_ORAL_CONTRAST_SHARE = 0.15
_PHASE_SHARES = (0.38, 0.14, 0.38, 0.10)
_ABSENT = {
    "spleen": 0.05,
    "right kidney": 0.04,
    "left kidney": 0.04,
    "gallbladder": 0.13,
    "right adrenal gland": 0.02,
    "left adrenal gland": 0.03,
}


@dataclass(frozen=True)
class Patient:
    """One patient.

    Attributes:
        rng: Draws the details of the anatomy, in a fixed order.
        scale: Size of the skeleton and the organs against a 175 cm adult.
        fat: Amount of fat, 1 is average; below 0.4 the patient is lean.
        half_width_mm: Of the trunk inside the subcutaneous fat.
        half_depth_mm: Likewise, front to back.
        skin_mm: Thickness of skin and subcutaneous fat.
        missing: Organs that were taken out or never there.
        lordosis: Strength of the spine's curves in the sagittal plane, 1 is average.
        muscular: Thickness of the muscles of the wall, 1 is average.
        dome_mm: Height of the diaphragm's right dome over the second lumbar vertebra.
        moved_mm: How far each organ as a whole lies from its typical place.
        apart: Share of the usual film of fat between organs; 0 where they touch.
        oral_hu: HU of the contrast medium that the patient drank, None without it.
        variety: Share of the usual spread of places and sizes of organs.
    """

    rng: np.random.Generator
    scale: float
    fat: float
    half_width_mm: float
    half_depth_mm: float
    skin_mm: float
    phase: Phase
    missing: frozenset[str] = field(default_factory=frozenset)
    lordosis: float = 1.0
    muscular: float = 1.0
    dome_mm: float = 120.0
    moved_mm: dict[str, np.ndarray] = field(default_factory=dict)
    apart: float = 1.0
    oral_hu: float | None = None
    variety: float = 1.0

    @property
    def centre_y_mm(self) -> float:
        """How far the trunk's centre lies in front of the spine's."""
        return 38.0 * self.scale

    def at(self, *position_mm: float, spread_mm: float = 0.0, organ: str | None = None) -> np.ndarray:
        """Return a landmark of the average adult in this patient, moved at random.

        Args:
            position_mm: x, y, z of the landmark.
            spread_mm: Standard deviation of its own movement along each axis.
            organ: Whose landmark it is; it then moves with all others of that organ.
        """
        own_mm = self.rng.normal(0, 1, 3) * (self.variety * spread_mm)
        place = np.array(position_mm, float) * self.scale + own_mm
        if organ is None:
            return place
        # What lies near the wall follows it; what lies near the spine does not.
        aside, deep = abs(position_mm[0]) / 100, abs(position_mm[1] - _MIDDLE_Y_MM) / 60
        wide = self.half_width_mm / (_HALF_WIDTH_MM * self.scale) - 1
        thick = self.half_depth_mm / (_HALF_DEPTH_MM * self.scale) - 1
        place[0] *= 1 + wide * min(1.0, aside)
        place[1] += (place[1] - _MIDDLE_Y_MM * self.scale) * thick * min(1.0, deep)
        return np.asarray(place + self.moved_mm[organ])

    def forward_mm(self, z_mm: Floats) -> Floats:
        """Return how far the spine's curves carry it, and what hangs on it, to the front at a height."""
        curve = PchipInterpolator(np.array(_SPINE_Z_MM), np.array(_SPINE_FORWARD_MM) * self.lordosis)
        return np.asarray(
            curve(np.clip(z_mm / self.scale, _SPINE_Z_MM[0], _SPINE_Z_MM[-1])) * self.scale, np.float32
        )

    def vary(self, spread: float) -> float:
        """Return a random factor around 1."""
        return float(np.exp(self.rng.normal(0, self.variety * spread)))


def draw_patient(rng: np.random.Generator, *, variety: float = 1.0) -> Patient:
    """Draw a patient, with a share of the usual spread of places and sizes of organs."""
    scale = float(np.clip(rng.normal(1, 0.08), 0.8, 1.2))
    lean = rng.random() < _LEAN_SHARE
    fat = float(rng.uniform(0.05, _LEAN) if lean else min(_LEAN + rng.gamma(2, 0.38), 2.4))
    depth = rng.normal(_HALF_DEPTH_MM - (6 if lean else 0), 14)
    return Patient(
        rng=rng,
        scale=scale,
        fat=fat,
        half_width_mm=float(np.clip(rng.normal(_HALF_WIDTH_MM, 15), 122, 186)) * scale,
        half_depth_mm=float(np.clip(depth, 82, 138)) * scale,
        skin_mm=3 + 16 * fat,
        phase=_draw_phase(rng),
        missing=frozenset(name for name, share in _ABSENT.items() if rng.random() < share),
        lordosis=float(np.clip(rng.normal(1, 0.35), 0.2, 1.7)),
        muscular=float(np.clip(rng.normal(1, 0.2), 0.55, 1.5)),
        dome_mm=float(rng.normal(120, 15)) * scale,
        moved_mm={name: variety * _draw_move_mm(rng, name) for name in _APART_MM},
        apart=0.0 if rng.random() < _TOUCHING_SHARE else float(rng.random()),
        oral_hu=float(rng.uniform(150, 500)) if rng.random() < _ORAL_CONTRAST_SHARE else None,
        variety=variety,
    )


def _draw_move_mm(rng: np.random.Generator, organ: str) -> np.ndarray:
    """Draw how far an organ lies from its typical place; less far where the wall or a muscle is near."""
    move = _APART_MM[organ] * np.clip(rng.normal(0, 1, 3), -2, 2)
    for axis, side in _WALLS.get(organ, ()):
        if move[axis] * side > 0:
            move[axis] *= _INTO_WALL
    return np.asarray(move)


def _draw_phase(rng: np.random.Generator) -> Phase:
    """Draw a contrast phase and this patient's HU in it."""
    phase = PHASES[int(rng.choice(len(PHASES), p=_PHASE_SHARES))]
    varied = {
        name: float(value + rng.normal(0, 4 + 0.07 * value))
        for name, value in vars(phase).items()
        if name != "name"
    }
    ranges = {"muscle": _MUSCLE_RANGE_HU, **_RANGES_HU.get(phase.name, {})}
    varied |= {name: float(rng.uniform(*ends)) for name, ends in ranges.items()}
    if phase.name == "native":
        varied["medulla"] = varied["cortex"]
    elif phase.name == "portal venous":
        varied["medulla"] = varied["cortex"] * float(rng.uniform(0.75, 1.0))
    varied["liver"] -= min(max(0.0, float(rng.gamma(1.2, 12)) - 6), 50.0)  # steatosis
    return Phase(name=phase.name, **varied)
