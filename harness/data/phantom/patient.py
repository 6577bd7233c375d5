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


PHASES = (
    Phase("native", 57, 48, 37, 34, 40, 42, 40, 42, 55, 42),
    Phase("arterial", 68, 110, 170, 70, 100, 300, 75, 145, 60, 75),
    Phase("portal venous", 112, 122, 175, 150, 105, 155, 140, 165, 64, 82),
    Phase("delayed", 92, 95, 150, 160, 80, 110, 110, 110, 62, 68),
)
_SPINE_Z_MM = (-290, -240, -200, -160, -128, -95, -50, 0, 50, 100, 150, 200, 260, 330)
_SPINE_FORWARD_MM = (-34, -42, -34, -12, 3, 13, 15, 10, 2, -6, -11, -14, -14, -10)
"""Curve of the spine of the average adult on the table: lumbar lordosis, sacrum, thoracic kyphosis."""

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
        fat: Amount of fat, 1 is average.
        half_width_mm: Of the trunk inside the subcutaneous fat.
        half_depth_mm: Likewise, front to back.
        skin_mm: Thickness of skin and subcutaneous fat.
        missing: Organs that were taken out or never there.
        lordosis: Strength of the spine's curves in the sagittal plane, 1 is average.
        muscular: Thickness of the muscles of the wall, 1 is average.
        dome_mm: Height of the diaphragm's right dome over the second lumbar vertebra.
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

    @property
    def centre_y_mm(self) -> float:
        """How far the trunk's centre lies in front of the spine's."""
        return 38.0 * self.scale

    def at(self, *position_mm: float, spread_mm: float = 0.0) -> np.ndarray:
        """Return a landmark of the average adult in this patient, moved at random."""
        return np.array(position_mm, float) * self.scale + self.rng.normal(0, 1, 3) * spread_mm

    def forward_mm(self, z_mm: Floats) -> Floats:
        """Return how far the spine's curves carry it, and what hangs on it, to the front at a height."""
        curve = PchipInterpolator(np.array(_SPINE_Z_MM), np.array(_SPINE_FORWARD_MM) * self.lordosis)
        return np.asarray(curve(np.clip(z_mm / self.scale, -290, 330)) * self.scale, np.float32)

    def vary(self, spread: float) -> float:
        """Return a random factor around 1."""
        return float(np.exp(self.rng.normal(0, spread)))


def draw_patient(rng: np.random.Generator) -> Patient:
    """Draw a patient."""
    scale = float(np.clip(rng.normal(1, 0.06), 0.85, 1.17))
    fat = float(np.clip(rng.gamma(3, 0.33), 0.15, 2.4))
    phase = PHASES[int(rng.choice(len(PHASES), p=_PHASE_SHARES))]
    varied = {
        name: float(value + rng.normal(0, 4 + 0.05 * value))
        for name, value in vars(phase).items()
        if name != "name"
    }
    varied["liver"] -= max(0.0, float(rng.gamma(1.2, 10)) - 6)  # steatosis
    return Patient(
        rng=rng,
        scale=scale,
        fat=fat,
        half_width_mm=float(np.clip(rng.normal(150, 9), 130, 172)) * scale,
        half_depth_mm=float(np.clip(rng.normal(99, 7), 84, 116)) * scale,
        skin_mm=4 + 15 * fat,
        phase=Phase(name=phase.name, **varied),
        missing=frozenset(name for name, share in _ABSENT.items() if rng.random() < share),
        lordosis=float(np.clip(rng.normal(1, 0.25), 0.4, 1.5)),
        muscular=float(np.clip(rng.normal(1, 0.15), 0.65, 1.4)),
        dome_mm=float(rng.normal(120, 10)) * scale,
    )
