"""How a prediction agrees with its reference: labels mixed up, lesions found, NSD over tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.ndimage import find_objects, label

from evaluator import Scoring
from evaluator.distances import GridSpacing
from evaluator.labels import LabelTable
from evaluator.pair import CasePair
from harness.report.volumes import Labels, Spacing

TOLERANCES_MM = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
_TOUCHING = np.ones((3, 3, 3), dtype=bool)


@dataclass(frozen=True)
class Lesion:
    """One connected piece of a lesion label.

    Attributes:
        ml: Its volume.
        met: Whether a voxel of it is in the other volume too.
        real: Whether it is of the reference; else of the prediction.
    """

    ml: float
    met: bool
    real: bool


@dataclass(frozen=True, eq=False)
class Agreement:
    """One prediction beside its reference.

    Attributes:
        confusion_ml: float64 (labels + 1, labels + 1), the volume with the row's label in the reference and
            the column's in the prediction; the first is the background.
        lesions: The pieces of the lesion labels in both volumes.
        nsd: Mean NSD at each of `TOLERANCES_MM` over the labels that both volumes hold; empty if not asked.
    """

    confusion_ml: npt.NDArray[np.float64]
    lesions: tuple[Lesion, ...] = ()
    nsd: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def confusion_ml(
    reference: Labels, prediction: Labels, values: Sequence[int], voxel_ml: float
) -> npt.NDArray[np.float64]:
    """Return which labels are taken for which; see `Agreement`. Background taken for background counts 0."""
    place = np.zeros(256, dtype=np.uint8)
    place[list(values)] = np.arange(1, len(values) + 1)
    size = len(values) + 1
    held = np.flatnonzero((reference | prediction).ravel(order="K"))
    first, second = reference.ravel(order="K")[held], prediction.ravel(order="K")[held]
    pairs = place[first].astype(np.intp) * size + place[second]
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return counts.astype(np.float64) * voxel_ml


def find_lesions(
    reference: Labels, prediction: Labels, values: Sequence[int], voxel_ml: float
) -> tuple[Lesion, ...]:
    """List the pieces of these labels in both volumes and whether they meet one another.

    A piece is what touches, corners included.
    """
    found: list[Lesion] = []
    for value in values:
        truth, guess = reference == value, prediction == value
        if not (truth.any() or guess.any()):
            continue
        held = find_objects((truth | guess).astype(np.uint8))
        truth, guess = truth[held[0]], guess[held[0]]
        for own, other, real in ((truth, guess, True), (guess, truth, False)):
            pieces, count = label(own, structure=_TOUCHING)
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
            met = np.bincount(pieces[other], minlength=count + 1)[1:] > 0
            found += [
                Lesion(float(size * voxel_ml), bool(touched), real)
                for size, touched in zip(sizes, met, strict=True)
            ]
    return tuple(found)


def nsd_curve(
    reference: Labels, prediction: Labels, labels: LabelTable, spacing_mm: Spacing
) -> npt.NDArray[np.float64]:
    """Return the mean NSD at each of `TOLERANCES_MM` over the labels in both volumes; empty if none."""
    spacing = GridSpacing(spacing_mm, spacing_mm, spacing_mm)
    pair = CasePair(reference, prediction, Scoring(labels, profile="exact", metrics=("nsd",)), spacing)
    curves = []
    for one in pair.labels:
        if len(one.reference_runs) and len(one.prediction_runs):
            areas = [one.distances.areas(tolerance) for tolerance in TOLERANCES_MM]
            curves.append([area.share() for area in areas])
    return np.mean(curves, axis=0) if curves else np.empty(0)
