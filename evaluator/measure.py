"""Counts and surfaces of every label of a pair of volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.labels import Label


@dataclass(frozen=True, kw_only=True)
class LabelMeasures:
    """What was counted for one label. `scored_` and the overlap refer to the slices that are scored.

    Attributes:
        reference_voxels: In the whole reference.
        prediction_voxels: In the whole prediction.
        scored_reference_voxels: In the scored slices of the reference.
        scored_prediction_voxels: In the scored slices of the prediction.
        overlap_voxels: In both, in the scored slices.
        nsd: Surface Dice at the label's tolerance; 0 where a surface is missing.
        hd95_mm: 95th percentile of the surface distances, if asked for.
        assd_mm: Average symmetric surface distance, if asked for.
    """

    reference_voxels: int
    prediction_voxels: int
    scored_reference_voxels: int
    scored_prediction_voxels: int
    overlap_voxels: int
    nsd: float
    hd95_mm: float | None = None
    assd_mm: float | None = None


def measure_labels(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    labels: Sequence[Label],
    *,
    area_spacing_mm: tuple[float, float, float],
    distance_spacing_mm: tuple[float, float, float],
    crop: Sequence[bool],
    surface_distances: bool = False,
    threads: int | None = None,
) -> list[LabelMeasures]:
    """Measure every label of a pair of volumes on the same grid."""
    if not hasattr(np, "Inf"):
        np.Inf = np.inf
    import surface_distance as sd

    out = []
    for label, cropped in zip(labels, crop, strict=True):
        g, p = reference == label.value, prediction == label.value
        ng, np_ = int(g.sum()), int(p.sum())
        if cropped and ng:
            z = np.flatnonzero(g.any((0, 1)))
            g, p = g[..., z[0] : z[-1]], p[..., z[0] : z[-1]]
        nsd = 0.0
        if g.any() and p.any():
            d = sd.compute_surface_distances(g, p, distance_spacing_mm)
            nsd = float(sd.compute_surface_dice_at_tolerance(d, label.tolerance_mm))
        out.append(
            LabelMeasures(
                reference_voxels=ng,
                prediction_voxels=np_,
                scored_reference_voxels=int(g.sum()),
                scored_prediction_voxels=int(p.sum()),
                overlap_voxels=int((g & p).sum()),
                nsd=nsd,
            )
        )
    return out
