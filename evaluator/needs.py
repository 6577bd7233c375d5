"""Counts and volumes of a label in two files, which `evaluator.pair` computes once for all metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Counts:
    """The voxels of one label. `scored_` and the overlap refer to the slices that are scored.

    Attributes:
        reference_voxels: In the whole reference.
        prediction_voxels: In the whole prediction.
        scored_reference_voxels: In the scored slices of the reference.
        scored_prediction_voxels: In the scored slices of the prediction.
        overlap_voxels: In both, in the scored slices.
    """

    reference_voxels: int
    prediction_voxels: int
    scored_reference_voxels: int
    scored_prediction_voxels: int
    overlap_voxels: int


@dataclass(frozen=True, kw_only=True)
class Volumes:
    """The volumes of one label, in the whole files.

    Attributes:
        reference_ml: In the reference.
        prediction_ml: In the prediction.
    """

    reference_ml: float
    prediction_ml: float


@dataclass(frozen=True, kw_only=True)
class Borders:
    """The border voxels of one label: those with one of 6 neighbours outside.

    Attributes:
        reference_voxels: Of the reference.
        prediction_voxels: Of the prediction.
        shared_voxels: Of both.
    """

    reference_voxels: int
    prediction_voxels: int
    shared_voxels: int
