"""The scanner: table, reconstruction kernel, dose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.phantom.canvas import Canvas
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import FAT_HU, Patient
from harness.data.phantom.trunk import Trunk, back_mm

_SHOULDER_MM = 305.0
LOWEST_HU, HIGHEST_HU = -1024, 3071
_NOISE_CORRELATION_MM = 1.0

VIEWS = ("abdomen", "anywhere")
_TRUNK_SHARE, _SLAB_SHARE, _CUT_SHARE = 0.45, 0.25, 0.15
"""Of the scans of `anywhere`: those that reach into chest or thighs, slabs, and those cut in plane."""


@dataclass(frozen=True)
class Protocol:
    """How the scan is made; drawn before the patient's details so that any grid gives the same patient.

    Attributes:
        field_of_view_mm: Side of the square that each slice covers.
        centre_mm: Where its middle lies, x and y, and the middle of the scan along z.
        length_mm: How much of the patient is scanned along z.
        slice_mm: Distance between slices.
        kernel_mm: Standard deviation of the in-plane blur.
        noise_hu: Standard deviation of the noise in an average patient.
        arms_down: Whether the arms lie beside the body.
    """

    field_of_view_mm: float
    centre_mm: tuple[float, float, float]
    length_mm: float
    slice_mm: float
    kernel_mm: float
    noise_hu: float
    arms_down: bool


def draw_protocol(patient: Patient, rng: np.random.Generator, view: str) -> Protocol:
    """Draw a protocol that fits the patient.

    Args:
        patient: Who is scanned.
        rng: Draws the protocol, and nothing of the patient.
        view: `abdomen`, as clinics scan it, or `anywhere`: from the shoulders to the thighs, in thin slabs,
            and with a field of view that cuts the body, as trainings want it.
    """
    anywhere = view == "anywhere"
    widest = 2 * (patient.half_width_mm + patient.skin_mm)
    arms = bool(rng.random() < (0.4 if anywhere else 0.2))
    low_mm, high_mm = _long_range(patient, rng, anywhere=anywhere)
    side_mm = widest * float(rng.uniform(1.02, 1.28)) + (60 if arms else 0)
    aside = [float(rng.normal(0, 6)), float(rng.normal(0, 8))]
    if anywhere and rng.random() < _SLAB_SHARE:
        middle, half_mm = float(rng.uniform(-90, 150)) * patient.scale, 0.5 * float(rng.uniform(30, 150))
        low_mm, high_mm = middle - half_mm, middle + half_mm
    if anywhere and rng.random() < _CUT_SHARE:
        side_mm = widest * float(rng.uniform(0.5, 0.95))
        aside = [float(rng.uniform(-0.25, 0.25)) * widest, float(rng.uniform(-0.12, 0.12)) * widest]
    return Protocol(
        field_of_view_mm=side_mm,
        centre_mm=(aside[0], patient.centre_y_mm + aside[1], 0.5 * (low_mm + high_mm)),
        length_mm=high_mm - low_mm,
        slice_mm=float(rng.choice((2.5, 3.0, 3.0, 4.0, 5.0, 5.0))),
        kernel_mm=float(rng.uniform(0.6, 1.3)),
        noise_hu=float(np.clip(rng.gamma(3.5, 3.4), 4, 32)),
        arms_down=arms,
    )


def _long_range(patient: Patient, rng: np.random.Generator, *, anywhere: bool) -> tuple[float, float]:
    """Return between which heights a patient is scanned unless it is a slab."""
    if anywhere and rng.random() < _TRUNK_SHARE:
        return float(rng.uniform(-400, -120)) * patient.scale, float(rng.uniform(150, 370)) * patient.scale
    # Most scans start a little above the diaphragm; the long ones reach the pelvis.
    top_mm = patient.dome_mm + float(rng.normal(24, 18))
    return top_mm - float(rng.uniform(200, 390)), top_mm


def paint_surroundings(canvas: Canvas, patient: Patient, protocol: Protocol, trunk: Trunk) -> None:
    """Paint the table, and the arms if they are down."""
    x = canvas.axes_mm[0][:, None, None]
    y = canvas.axes_mm[1][None, :, None]
    outside = trunk.skin > 1
    z, half_mm = protocol.centre_mm[2], protocol.length_mm / 2
    back = back_mm(patient, z - half_mm, z + half_mm) - 1
    # A shallow trough of two carbon sheets over foam.
    depth = y - np.float32(back) - 30 * np.square(x / np.float32(250))
    near = np.abs(x) < 265
    sheet_mm = np.minimum(np.abs(depth), np.abs(depth + 36))
    # A sheet is thinner than a voxel may be: it gets the HU of its share of the voxel.
    share = np.clip(3.0 / canvas.spacing_mm[1], 0.5, 1.0) * np.clip(
        1.5 - sheet_mm / canvas.spacing_mm[1], 0, 1
    )
    sheets = (share > 0) & near & outside
    foam = (depth < 0) & (depth > -36) & near & outside
    canvas.paint(canvas.everywhere, foam, -930.0)
    canvas.paint(canvas.everywhere, sheets, np.broadcast_to(-900 + 1250 * share, canvas.shape))
    if protocol.arms_down:
        px, py, _ = canvas.points
        top = int(np.searchsorted(canvas.axes_mm[2], _SHOULDER_MM * patient.scale))
        part = (slice(None), slice(None), slice(0, top))
        px, py = px[part], py[part]
        for side in (1, -1):
            middle = side * (patient.half_width_mm + patient.skin_mm + 44)
            arm = np.hypot(px - middle, py - patient.centre_y_mm + 12) - 37
            for limit, hu in ((0, FAT_HU), (-8, patient.phase.muscle), (-25, 900.0), (-29, 120.0)):
                canvas.paint(part, (arm < limit) & outside[part], hu)


def expose(
    hu: Floats,
    spacing_mm: tuple[float, float, float],
    patient: Patient,
    protocol: Protocol,
    seed: np.random.SeedSequence,
) -> NDArray[np.int16]:
    """Return the image: partial volume, kernel blur, correlated noise, whole HU. Overwrites `hu`."""
    sigma = [
        # Half a voxel stands for the averaging over a voxel that painting its centre leaves out.
        float(np.hypot(0.45, protocol.kernel_mm / spacing_mm[0])),
        float(np.hypot(0.45, protocol.kernel_mm / spacing_mm[1])),
        0.45,
    ]
    ndimage.gaussian_filter(hu, sigma, truncate=2.5, output=hu)
    hu += _noise(hu.shape, spacing_mm, _noise_hu(patient, protocol), np.random.default_rng(seed))
    np.rint(hu, out=hu)
    np.clip(hu, LOWEST_HU, HIGHEST_HU, out=hu)
    return hu.astype(np.int16)


def _noise_hu(patient: Patient, protocol: Protocol) -> float:
    """Return the noise in this patient: it rises with the square root of what the beam must cross."""
    girth = (patient.half_width_mm + patient.skin_mm) * (patient.half_depth_mm + patient.skin_mm)
    return float(protocol.noise_hu * (girth / 21000) ** 0.7)


def _noise(
    shape: tuple[int, ...],
    spacing_mm: tuple[float, float, float],
    deviation_hu: float,
    rng: np.random.Generator,
) -> Floats:
    """Return noise with the grain of a reconstructed slice."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    left = 1.0  # of the deviation, after the blur
    impulse = np.zeros(41)
    impulse[20] = 1
    for axis in (0, 1):
        sigma = max(0.5, _NOISE_CORRELATION_MM / spacing_mm[axis])
        ndimage.gaussian_filter1d(noise, sigma, axis=axis, truncate=2.5, output=noise)
        left *= float(np.linalg.norm(ndimage.gaussian_filter1d(impulse, sigma, truncate=2.5)))
    noise *= np.float32(deviation_hu / left)
    return noise
