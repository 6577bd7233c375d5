"""Tumours: in the organs where they are common, and a few elsewhere in the abdomen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.data.phantom.canvas import Box, Mask
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import ORGANS, TUMOUR, Patient, Phase
from harness.data.phantom.shapes import Ellipsoid, Vector, rotation
from harness.data.phantom.surgeon import Surgeon
from harness.data.phantom.warp import pushed_radius_mm

_SITES: tuple[tuple[str, float, float], ...] = (
    # organ (empty: the mesentery), share of tumour patients, largest radius in mm
    ("liver", 0.42, 40),
    ("right kidney", 0.11, 38),
    ("left kidney", 0.11, 38),
    ("pancreas", 0.13, 28),
    ("spleen", 0.06, 30),
    ("stomach", 0.06, 28),
    ("", 0.11, 40),
)
_HOMES: dict[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    # Middle and radii of the ellipsoid that the middle of a tumour is drawn from, in mm of the average adult.
    "liver": ((78, 34, 54), (40, 50, 36)),
    "right kidney": ((68, -9, -12), (13, 20, 40)),
    "left kidney": ((-68, -9, 2), (13, 20, 40)),
    "pancreas": ((-6, 56, 20), (32, 8, 10)),
    "spleen": ((-100, -8, 60), (14, 26, 30)),
    "stomach": ((-50, 66, 40), (22, 22, 28)),
    "": ((0, 62, -60), (60, 28, 50)),
}
_TUMOUR_SHARE = 0.55
"""Of the patients; in a few of them the tumour lies where the organ is not, and so about half show one."""

_MOST_IN_LIVER = 4
_SMALLEST_MM = 4.0
_STRONGEST_PUSH = 0.5
_LEAST_SOLID_HU = 2.0


@dataclass(frozen=True)
class Tumour:
    """A tumour, drawn once per patient.

    Attributes:
        organ: Where it grows; empty for the mesentery.
        centre_mm: Its middle, in the patient's coordinates.
        radius_mm: Of a ball of about its size.
        push: How much of what it replaces it pushes away, see `warp.pushed`.
        radii_mm: Of its ellipsoid, among pushed points.
        turn: Of its ellipsoid.
        offset_mm: Where in the random fields its lumps and texture lie.
        lumps: How far its surface strays from the ellipsoid, as a share of its radius.
        contrast_hu: HU over the healthy organ, without the phase.
        solid_hu: HU in the mesentery.
        grain_hu: Standard deviation of its texture.
        edge_mm: Over how many mm it passes into the organ.
        capsule_hu: HU of a ring over the tumour's own, None without one.
        core_hu: HU of dead tissue in its middle, None without it.
    """

    organ: str
    centre_mm: Vector
    radius_mm: float
    push: float
    radii_mm: Vector
    turn: Vector
    offset_mm: float
    lumps: float
    contrast_hu: float
    solid_hu: float
    grain_hu: float
    edge_mm: float
    capsule_hu: float | None
    core_hu: float | None


def draw_tumours(patient: Patient) -> list[Tumour]:
    """Draw this patient's tumours; one or, in the liver, up to three, in about half of the patients."""
    rng = patient.rng
    if rng.random() > _TUMOUR_SHARE:
        return []
    shares = np.array([share for _, share, _ in _SITES])
    sites = {int(rng.choice(len(_SITES), p=shares / shares.sum())) for _ in range(1 + (rng.random() < 0.25))}
    tumours = []
    for organ, _, largest_mm in (_SITES[site] for site in sorted(sites)):
        count = int(rng.integers(1, _MOST_IN_LIVER)) if organ == "liver" else 1
        drawn = [_draw_tumour(patient, organ, largest_mm) for _ in range(count)]
        tumours += [tumour for tumour in drawn if organ not in patient.missing]
    return tumours


def paint_tumour(surgeon: Surgeon, tumour: Tumour) -> bool:
    """Paint a tumour into the organs that are there and return whether any voxel shows it."""
    canvas = surgeon.canvas
    shape = Ellipsoid(tumour.centre_mm, tumour.radii_mm, tumour.turn)
    box = canvas.box(shape, margin_mm=6 + 0.4 * tumour.radius_mm)
    if any(part.start >= part.stop for part in box):
        return False
    lumps = canvas.noise(11.0, box, offset_mm=tumour.offset_mm)
    field = canvas.field(shape, box)
    field += np.float32(tumour.lumps * min(tumour.radius_mm, 14.0)) * lumps
    host = ORGANS.get(tumour.organ, 0)
    room = surgeon.trunk.below[box] & np.isin(canvas.owner[box], (0, host))
    if tumour.organ:  # a tumour grows out of its organ by no more than its outer half
        room &= (canvas.owner[box] == host) | (field < -0.35 * tumour.radius_mm)
    inside = (field < 0) & room
    if not inside.any():
        return False
    if tumour.organ and not (canvas.owner[box][field < 0] == host).any():
        return False
    _paint(surgeon, tumour, box, field, inside)
    canvas.claim(box, field < 1.5, TUMOUR)
    return True


def _paint(surgeon: Surgeon, tumour: Tumour, box: Box, field: Floats, inside: Mask) -> None:
    canvas, phase = surgeon.canvas, surgeon.patient.phase
    fine = canvas.noise(6.0, box, offset_mm=tumour.offset_mm)
    coarse = canvas.noise(16.0, box, offset_mm=tumour.offset_mm)
    hu = _solid_hu(tumour, phase) + np.float32(tumour.grain_hu) * (0.6 * fine + 0.8 * coarse)
    if tumour.core_hu is not None:
        dead = np.clip((-0.4 * tumour.radius_mm - field) / 2.0, 0, 1)
        hu += dead * (np.float32(tumour.core_hu) + 4 * fine - hu)
    if tumour.capsule_hu is not None:
        hu += np.float32(tumour.capsule_hu) * (field > -np.float32(1.0 + 0.06 * tumour.radius_mm))
    # Its edge is a mixture of both tissues; the reference takes the whole of it.
    share = np.clip((0.3 * tumour.edge_mm - field) / tumour.edge_mm, 0, 1)
    around = canvas.hu[box]
    canvas.paint(box, inside, np.where(around > -60, around + share * (hu - around), hu), TUMOUR)


def _solid_hu(tumour: Tumour, phase: Phase) -> float:
    healthy = {
        "liver": phase.liver,
        "spleen": phase.spleen,
        "pancreas": phase.pancreas,
        "stomach": phase.bowel_wall,
        "right kidney": 0.6 * phase.cortex + 0.4 * phase.medulla,
        "left kidney": 0.6 * phase.cortex + 0.4 * phase.medulla,
    }
    if not tumour.organ:
        return tumour.solid_hu + (0.0 if phase.name == "native" else 15.0)
    contrast = (0.6 if phase.name == "native" else 1.0) * tumour.contrast_hu
    return max(healthy[tumour.organ] + contrast, _LEAST_SOLID_HU)


def _draw_tumour(patient: Patient, organ: str, largest_mm: float) -> Tumour:
    rng = patient.rng
    radius_mm = float(np.exp(rng.uniform(np.log(_SMALLEST_MM), np.log(largest_mm))))
    push = float(rng.uniform(0, _STRONGEST_PUSH))
    squeeze = rng.normal(0, 0.2, 3)
    contrast, brighter = float(rng.uniform(15, 65)), rng.random() < 0.15
    capsule = float(rng.uniform(15, 50)) * (1 if rng.random() < 0.6 else -1)
    core = float(rng.uniform(5, 28))
    ringed, necrotic = rng.random() < 0.3, rng.random() < 0.5
    return Tumour(
        organ=organ,
        centre_mm=_place(patient, organ, radius_mm),
        radius_mm=radius_mm,
        push=push,
        radii_mm=pushed_radius_mm(radius_mm, push) * np.exp(squeeze - squeeze.mean()),
        turn=rotation(x_deg=float(rng.uniform(0, 180)), z_deg=float(rng.uniform(0, 180))),
        offset_mm=float(rng.uniform(0, 300)),
        lumps=float(rng.uniform(0.05, 0.22)),
        contrast_hu=contrast if brighter else -contrast,
        solid_hu=float(rng.uniform(25, 75)),
        grain_hu=float(rng.uniform(3, 16)),
        edge_mm=float(rng.uniform(0.8, 4.0)),
        capsule_hu=capsule if ringed and radius_mm > 7 else None,
        core_hu=core if necrotic and radius_mm > 10 else None,
    )


def _place(patient: Patient, organ: str, radius_mm: float) -> Vector:
    """Return where the middle of a tumour lies: a point of the patient, away from aorta and cava."""
    rng, s = patient.rng, patient.scale
    centre, radii = _HOMES[organ]
    for _ in range(8):
        way = rng.normal(0, 1, 3)
        way *= float(rng.random()) ** (1 / 3) / np.linalg.norm(way)
        place = patient.at(*centre, organ=organ or None) + way * np.array(radii) * s
        vessels = min(np.hypot(place[0] - x * s, place[1] - y * s) for x, y in ((-9, 29), (22, 30)))
        if vessels > 0.7 * radius_mm + 11 * s:
            break
    return np.asarray(place)
