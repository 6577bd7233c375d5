"""One phantom: a patient drawn from a seed, scanned."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.bowel import paint_bowel
from harness.data.phantom.canvas import Canvas, Grid
from harness.data.phantom.fields import Floats, SmoothField
from harness.data.phantom.organs import paint_organs
from harness.data.phantom.patient import Patient, draw_patient
from harness.data.phantom.scanner import (
    VIEWS,
    Protocol,
    draw_protocol,
    expose,
    paint_surroundings,
)
from harness.data.phantom.surgeon import Surgeon
from harness.data.phantom.trunk import paint_trunk
from harness.data.phantom.tumours import draw_tumours, paint_tumour
from harness.data.phantom.warp import Warp
from harness.errors import ConfigurationError

GENERATOR_VERSION = 3
"""Raised when the same seed gives other voxels."""

SPLITS = {"Tr": 0, "Val": 1, "Ts": 2}
"""Enters the seed, so that no two splits share a patient."""

_SMALLEST_SHAPE = 16
_USUAL_SHAPE = (128, 128)
_SLAB_VOXELS = 2_000_000  # more take more memory, fewer take longer
_TEXTURE_SCALES_MM = (6.0, 11.0, 16.0, 23.0)


@dataclass(frozen=True)
class PhantomCase:
    """A phantom's CT and reference.

    Attributes:
        case: The case id.
        image_hu: int16 (x, y, z) in Hounsfield units, as the scanner shows it.
        tissue_hu: int16 (x, y, z), what was painted: HU without noise, blur or partial volume, so that
            equal tissue has nearly equal values.
        label: uint8 (x, y, z): organs 1 to 13, tumour 14.
        spacing_mm: Voxel size along x, y, z.
        affine: 4 x 4, voxel index to millimetres, RAS+.
        facts: Contrast phase, missing organs, tumours and more, ready for JSON.
    """

    case: str
    image_hu: NDArray[np.int16]
    tissue_hu: NDArray[np.int16]
    label: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    facts: dict[str, Any]


def check_recipe(*, split: str, shape: tuple[int, int, int] | None, view: str) -> None:
    """Refuse what no phantom can be made of.

    Raises:
        ConfigurationError: there is no such split or view, or the shape is too small to show an organ.
    """
    if view not in VIEWS:
        raise ConfigurationError(f"{view!r} is no view", mend=f"Use one of {', '.join(VIEWS)}.")
    if split not in SPLITS:
        raise ConfigurationError(f"{split!r} is no split", mend=f"Use one of {', '.join(SPLITS)}.")
    if shape is not None and min(shape) < _SMALLEST_SHAPE:
        raise ConfigurationError(
            f"a phantom of {'x'.join(map(str, shape))} voxels is too small to show an organ",
            mend=f"Use at least {_SMALLEST_SHAPE} voxels on each axis.",
        )


def make_case(
    *,
    seed: int,
    index: int,
    split: str = "Val",
    shape: tuple[int, int, int] | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    view: str = "abdomen",
    variety: float = 1.0,
) -> PhantomCase:
    """Make one phantom. The same arguments give the same voxels on every machine of one kind.

    Args:
        seed: Names the population.
        index: Which patient of it, from 1.
        split: `Tr`, `Val` or `Ts`.
        shape: Voxels along x, y, z; by default 128 x 128 and as many slices as the protocol says. The
            field of view is the patient's, so more voxels are smaller ones.
        spacing_mm: Voxel size along x, y, z, about; as many voxels as the field of view then needs.
        view: What is scanned: the `abdomen`, or `anywhere` between shoulders and thighs, slabs and cuts
            included. Both show the same patients.
        variety: Share of the usual spread of places, sizes and bends of the anatomy, for finding out what
            a training gains from it.

    Raises:
        ConfigurationError: there is no such split or view, the shape is too small to show an organ, both
            shape and voxel size are given, or variety is below 0 or above 1.
    """
    if shape is not None and spacing_mm is not None:
        raise ConfigurationError("shape and voxel size are both given", mend="Give one of them.")
    if not 0 <= variety <= 1:
        raise ConfigurationError(f"a variety of {variety} is no share", mend="Use 0 to 1.")
    check_recipe(split=split, shape=shape, view=view)
    root = np.random.SeedSequence([seed, index, SPLITS[split]])
    body_seed, texture_seed, noise_seed, protocol_seed = root.spawn(4)
    patient = draw_patient(np.random.default_rng(body_seed), variety=variety)
    protocol = draw_protocol(patient, np.random.default_rng(protocol_seed), view)
    if spacing_mm is not None:
        shape = _shape_of(protocol, spacing_mm)
    grid = _grid(protocol, shape)
    hu, label, tumours = _paint(grid, patient, protocol, texture_seed)
    tissue = np.rint(hu).astype(np.int16)
    image = expose(hu, grid.spacing_mm, patient, protocol, noise_seed)
    affine = np.diag([*grid.spacing_mm, 1.0])
    affine[:3, 3] = grid.origin_mm
    return PhantomCase(
        case=f"phantom_{index:04d}",
        image_hu=image,
        tissue_hu=tissue,
        label=label,
        spacing_mm=grid.spacing_mm,
        affine=affine,
        facts=_facts(patient, protocol, tumours) | {"view": view},
    )


def _paint(
    grid: Grid, patient: Patient, protocol: Protocol, texture_seed: np.random.SeedSequence
) -> tuple[Floats, NDArray[np.uint8], list[dict[str, object]]]:
    """Return HU, labels and tumours, painted slab by slab, so that only these arrays grow with the scan."""
    rng = np.random.default_rng(texture_seed)
    warp = Warp(rng, patient.forward_mm, patient.variety)
    texture = {scale: SmoothField(rng, scale_mm=scale) for scale in _TEXTURE_SCALES_MM}
    tumours = draw_tumours(patient)
    for tumour in tumours:
        warp.push(tumour.centre_mm, tumour.radius_mm, tumour.push)
    hu, label = np.empty(grid.shape, np.float32), np.empty(grid.shape, np.uint8)
    seen = [False] * len(tumours)
    details = patient.rng.bit_generator.state
    slices = max(1, _SLAB_VOXELS // (grid.shape[0] * grid.shape[1]))
    for first in range(0, grid.shape[2], slices):
        part = slice(first, min(first + slices, grid.shape[2]))
        patient.rng.bit_generator.state = details  # every slab shows the same patient
        canvas = Canvas(grid, part, warp=warp, texture=texture)
        trunk = paint_trunk(canvas, patient)
        for tumour in tumours:
            canvas.push(tumour.centre_mm, tumour.radius_mm, tumour.push)
        surgeon = Surgeon(canvas, patient, trunk)
        paint_organs(surgeon)
        seen = [paint_tumour(surgeon, t) or before for t, before in zip(tumours, seen, strict=True)]
        paint_bowel(surgeon)
        paint_surroundings(canvas, patient, protocol, trunk)
        hu[..., part], label[..., part] = canvas.hu, canvas.label
    told: list[dict[str, object]] = [
        {"organ": t.organ or "mesentery", "radius_mm": round(t.radius_mm, 1)}
        for t, shown in zip(tumours, seen, strict=True)
        if shown
    ]
    return hu, label, told


def _shape_of(protocol: Protocol, spacing_mm: tuple[float, float, float]) -> tuple[int, int, int]:
    extent_mm = (protocol.field_of_view_mm, protocol.field_of_view_mm, protocol.length_mm)
    sizes = (max(_SMALLEST_SHAPE, round(e / s)) for e, s in zip(extent_mm, spacing_mm, strict=True))
    return next(sizes), next(sizes), next(sizes)


def _grid(protocol: Protocol, shape: tuple[int, int, int] | None) -> Grid:
    if shape is None:
        shape = (*_USUAL_SHAPE, max(24, round(protocol.length_mm / protocol.slice_mm)))
        slice_mm = protocol.slice_mm
    else:
        slice_mm = float(np.clip(protocol.length_mm / shape[2], 0.6, 8.0))
    in_plane = protocol.field_of_view_mm / np.array(shape[:2])
    # NIfTI stores float32: values that it holds exactly make reading back the same.
    spacing_mm = (float(np.float32(in_plane[0])), float(np.float32(in_plane[1])), float(np.float32(slice_mm)))
    origin = np.array(protocol.centre_mm) - np.array(shape) * spacing_mm / 2
    return Grid(shape, spacing_mm, (float(origin[0]), float(origin[1]), float(origin[2])))


def _facts(patient: Patient, protocol: Protocol, tumours: list[dict[str, object]]) -> dict[str, Any]:
    return {
        "phase": patient.phase.name,
        "missing": sorted(patient.missing),
        "tumours": tumours,
        "scale": round(patient.scale, 3),
        "variety": patient.variety,
        "fat": round(patient.fat, 2),
        "noise_hu": round(protocol.noise_hu, 1),
        "arms_down": protocol.arms_down,
    }
