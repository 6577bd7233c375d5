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

LOWEST_HU, HIGHEST_HU = -1024, 3071
_NOISE_CORRELATION_MM = 1.0


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


def draw_protocol(patient: Patient) -> Protocol:
    """Draw a protocol that fits the patient."""
    rng = patient.rng
    widest = 2 * (patient.half_width_mm + patient.skin_mm)
    arms = bool(rng.random() < 0.2)
    length_mm = float(rng.uniform(200, 390))
    # Most scans start a little above the diaphragm; the long ones reach the pelvis.
    top_mm = patient.dome_mm + float(rng.normal(24, 18))
    return Protocol(
        field_of_view_mm=float(widest * rng.uniform(1.02, 1.28) + (60 if arms else 0)),
        centre_mm=(
            float(rng.normal(0, 6)),
            patient.centre_y_mm + float(rng.normal(0, 8)),
            top_mm - length_mm / 2,
        ),
        length_mm=length_mm,
        slice_mm=float(rng.choice((2.5, 3.0, 3.0, 4.0, 5.0, 5.0))),
        kernel_mm=float(rng.uniform(0.6, 1.3)),
        noise_hu=float(np.clip(rng.gamma(3.5, 3.4), 4, 32)),
        arms_down=arms,
    )


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
        for side in (1, -1):
            middle = side * (patient.half_width_mm + patient.skin_mm + 44)
            arm = np.hypot(px - middle, py - patient.centre_y_mm + 12) - 37
            for limit, hu in ((0, FAT_HU), (-8, patient.phase.muscle), (-25, 900.0), (-29, 120.0)):
                canvas.paint(canvas.everywhere, arm < limit, hu)


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
    noise = _noise(hu.shape, spacing_mm, np.random.default_rng(seed))
    noise *= np.float32(_noise_hu(patient, protocol))
    hu += noise
    np.rint(hu, out=hu)
    np.clip(hu, LOWEST_HU, HIGHEST_HU, out=hu)
    return hu.astype(np.int16)


def _noise_hu(patient: Patient, protocol: Protocol) -> float:
    """Return the noise in this patient: it rises with the square root of what the beam must cross."""
    girth = (patient.half_width_mm + patient.skin_mm) * (patient.half_depth_mm + patient.skin_mm)
    return float(protocol.noise_hu * (girth / 21000) ** 0.7)


def _noise(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], rng: np.random.Generator
) -> Floats:
    """Return noise of unit variance with the grain of a reconstructed slice."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    sigma = [max(0.5, _NOISE_CORRELATION_MM / step) for step in spacing_mm[:2]]
    ndimage.gaussian_filter(noise, [*sigma, 0.3], truncate=2.5, output=noise)
    noise /= noise.std()
    return noise
