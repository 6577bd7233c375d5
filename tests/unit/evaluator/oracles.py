"""What the evaluator is held against: DeepMind's surface-distance, and on it the official FLARE rules."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

# surface-distance 0.1 uses names that NumPy 2 has dropped, when a mask is empty.
for _name, _value in (("Inf", np.inf), ("NaN", np.nan)):
    if not hasattr(np, _name):
        setattr(np, _name, _value)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import surface_distance

Spacing = tuple[float, float, float]


def dice(reference: NDArray[np.bool_], prediction: NDArray[np.bool_]) -> float:
    """Return the oracle's Dice; NaN if both are empty."""
    return float(surface_distance.compute_dice_coefficient(reference, prediction))


def distances(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Spacing) -> dict:
    """Return the oracle's surface distances; spacing in the order of the arrays' axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found: dict = surface_distance.compute_surface_distances(reference, prediction, spacing)
    return found


def surface_dice(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Spacing, tolerance: float
) -> float:
    """Return the oracle's surface Dice; NaN if both are empty."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(
            surface_distance.compute_surface_dice_at_tolerance(
                distances(reference, prediction, spacing), tolerance
            )
        )


def hd95(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Spacing) -> float:
    """Return the oracle's 95th percentile distance."""
    return float(surface_distance.compute_robust_hausdorff(distances(reference, prediction, spacing), 95))


def masd(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Spacing) -> float:
    """Return the mean of the oracle's two average distances."""
    averages = surface_distance.compute_average_surface_distance(distances(reference, prediction, spacing))
    return float(sum(averages) / 2)


def assd(reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing: Spacing) -> float:
    """Return the mean over the oracle's distances of both directions together, by area."""
    found = distances(reference, prediction, spacing)
    ways = (("distances_gt_to_pred", "surfel_areas_gt"), ("distances_pred_to_gt", "surfel_areas_pred"))
    integral = sum((found[distance] * found[area]).sum() for distance, area in ways)
    return float(integral / sum(found[area].sum() for _, area in ways))


CRASH = (math.nan, math.nan)
"""Stands for the scores of a label at which the official script raises."""

_TOLERANCES = (5, 3, 3, 5, 2, 2, 2, 2, 2, 3, 5, 7, 3, 2)
_CROPPED = (5, 6, 10)


def official_flare(challenge: str, reference: Path, prediction: Path) -> dict[int, tuple[float, float]]:
    """Return DSC and NSD of each label as the official script of a challenge computes them, or `CRASH`.

    The rules are retold from the public scripts (github.com/JunMa11/FLARE, commit aad2cc2).
    """
    truth_image = nibabel.load(reference)
    spacing = truth_image.header.get_zooms()[:3]
    truth = _as_uint8(truth_image.get_fdata())
    found = nibabel.load(prediction).get_fdata()
    if challenge == "flare21":
        return {label: _flare21(truth == label, found == label, spacing) for label in range(1, 5)}
    found = _as_uint8(found)
    if challenge == "flare24-task1":
        if found.max() > 1:
            return {1: (0, 0)}
        return {1: _flare22(truth == 1, found == 1, spacing, 2, cropped=False)}
    labels = range(1, 15 if challenge == "flare23" else 14)
    return {
        label: _flare22(
            truth == label, found == label, spacing, _TOLERANCES[label - 1], cropped=label in _CROPPED
        )
        for label in labels
    }


def _as_uint8(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.trunc(values).astype(np.int64).astype(np.uint8)


def _flare21(truth: NDArray, found: NDArray, spacing: Spacing) -> tuple[float, float]:
    if not truth.any():
        return (0, 0) if found.any() else (1, 1)
    return dice(truth, found), surface_dice(truth, found, spacing, 1)


def _flare22(
    truth: NDArray, found: NDArray, spacing: Spacing, tolerance: float, *, cropped: bool
) -> tuple[float, float]:
    if not truth.any() and not found.any():
        return 1, 1
    if not truth.any() or not found.any():
        return 0, 0
    if cropped:
        slices = np.where(truth)[2]
        if slices.min() == slices.max():
            return CRASH
        region = np.s_[:, :, slices.min() : slices.max()]
        truth, found = truth[region], found[region]
    dsc = dice(truth, found)
    nsd = 0.0 if dsc < 0.2 else surface_dice(truth, found, spacing, tolerance)
    return float(np.round(np.float64(dsc), 4)), float(np.round(np.float64(nsd), 4))
