"""How a prediction agrees with its reference: labels mixed up, lesions found, NSD over tolerance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from evaluator import Scoring
from evaluator.distances import GridSpacing
from evaluator.labels import LabelTable
from evaluator.pair import CasePair
from harness.report.volumes import Labels, Spacing

TOLERANCES_MM = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)


@dataclass(frozen=True)
class Lesion:
    """One lesion of the reference, or of the prediction where that matches none.

    Attributes:
        ml: Its volume.
        met: Whether it has a match.
        real: Whether it is of the reference; else it is a false alarm.
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
        lesions: The lesions of the labels that come in pieces.
        nsd: Mean NSD at each of `TOLERANCES_MM` over the labels that both volumes hold; empty if not asked.
    """

    confusion_ml: npt.NDArray[np.float64]
    lesions: tuple[Lesion, ...] = ()
    nsd: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))


def confusion_ml(
    reference: Labels, prediction: Labels, values: Sequence[int], voxel_ml: float
) -> npt.NDArray[np.float64]:
    """Return which labels are taken for which; see `Agreement`. Background taken for background counts 0.

    A value of 0 stands for a region, which is made of other labels and has no volume of its own here.
    """
    place = np.zeros(256, dtype=np.uint8)
    place[list(values)] = np.arange(1, len(values) + 1)
    place[0] = 0
    size = len(values) + 1
    held = np.flatnonzero((reference | prediction).ravel(order="K"))
    first, second = reference.ravel(order="K")[held], prediction.ravel(order="K")[held]
    pairs = place[first].astype(np.intp) * size + place[second]
    counts = np.bincount(pairs, minlength=size * size).reshape(size, size)
    return counts.astype(np.float64) * voxel_ml


def find_lesions(
    reference: Labels, prediction: Labels, labels: LabelTable, spacing_mm: Spacing, *, profile: str
) -> tuple[Lesion, ...]:
    """List the lesions of these labels in the reference, and the predicted ones that match none.

    What a lesion is, which are left out and what matches is what the scoring profile says.
    """
    found: list[Lesion] = []
    for one in _pair(reference, prediction, labels, spacing_mm, profile).labels:
        if not len(one.reference_runs) and not len(one.prediction_runs):
            continue
        pieces = one.lesions
        ml = pieces.voxel_mm3 / 1000
        for number in pieces.kept:
            size = float(pieces.reference.voxels[number] * ml)
            found.append(Lesion(size, met=number in pieces.matched, real=True))
        for number in pieces.false:
            found.append(Lesion(float(pieces.prediction.voxels[number] * ml), met=False, real=False))
    return tuple(found)


def nsd_curve(
    reference: Labels, prediction: Labels, labels: LabelTable, spacing_mm: Spacing
) -> npt.NDArray[np.float64]:
    """Return the mean NSD at each of `TOLERANCES_MM` over the labels in both volumes; empty if none."""
    curves = []
    for one in _pair(reference, prediction, labels, spacing_mm, "exact").labels:
        if len(one.reference_runs) and len(one.prediction_runs):
            areas = [one.distances.areas(tolerance) for tolerance in TOLERANCES_MM]
            curves.append([area.share() for area in areas])
    return np.mean(curves, axis=0) if curves else np.empty(0)


def _pair(
    reference: Labels, prediction: Labels, labels: LabelTable, spacing_mm: Spacing, profile: str
) -> CasePair:
    spacing = GridSpacing(spacing_mm, spacing_mm, spacing_mm)
    return CasePair(reference, prediction, Scoring(labels, profile=profile, metrics=("nsd",)), spacing)
