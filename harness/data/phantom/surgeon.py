"""Puts shapes into a canvas: keeps them in the cavity and off what is there already."""

from __future__ import annotations

import numpy as np

from harness.data.phantom.canvas import VESSEL, Box, Canvas, Mask
from harness.data.phantom.fields import Floats
from harness.data.phantom.patient import ORGANS, Patient
from harness.data.phantom.shapes import Shape, Tube
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

    def fill_dome(self, box: Box, field: Floats, reach_mm: float) -> None:
        """Let an organ swell into what is left of the diaphragm's dome above it: nothing else lies there."""
        near = np.clip(1 + self.trunk.diaphragm_mm[box] / 32, 0, 1)
        field -= np.float32(reach_mm) * near
