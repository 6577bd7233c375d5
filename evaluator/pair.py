"""A reference and a prediction side by side, and what metrics need of them: computed once, when first asked.

A metric names its needs (`counts`, `areas`, `distances`, ...). They are the attributes of `LabelPair` and,
for numbers per case, of `CasePair`; a new kind of need is one more property here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from evaluator.components import border_runs
from evaluator.consensus import Consensus
from evaluator.distances import GridSpacing, SurfaceAreas, SurfaceDistances, measure_distances
from evaluator.errors import RequestError
from evaluator.labels import Label
from evaluator.lesions import Lesions
from evaluator.measure import measure_areas
from evaluator.needs import Borders, Counts, Volumes
from evaluator.overlap import count_shared
from evaluator.runs import LABELS, LARGEST_AXIS, LabelRuns, find_runs
from evaluator.scoring import Scoring
from evaluator.skeletons import Skeletons, compare_skeletons
from evaluator.threads import spread, usable_cores

R = TypeVar("R")


class LabelPair:
    """One label in a reference and in a prediction on the same grid.

    Attributes:
        label: What is looked at, with its tolerance.
        rules: The profile.
        spacing: Voxel sizes.
        shape: Voxels along x, y, z.
        reference_runs: The label's runs in the reference, packed and sorted (runs.py); where the profile
            crops the label, those of the scored slices.
        prediction_runs: The same of the prediction.
    """

    def __init__(
        self,
        label: Label,
        reference: LabelRuns | Consensus,
        prediction: LabelRuns,
        *,
        scoring: Scoring,
        spacing: GridSpacing,
        shape: tuple[int, int, int],
    ) -> None:
        self.label = label
        self.rules = scoring.rules
        self.spacing = spacing
        self.shape = shape
        values = label.voxel_values
        self.reference_runs, self.prediction_runs = reference.of_all(values), prediction.of_all(values)
        self._voxels = _voxels(self.reference_runs), _voxels(self.prediction_runs)
        self._measures_distances = any("distances" in metric.needs for metric in scoring.label_metrics)
        rules = scoring.rules
        self._is_cropped = label.value in rules.cropped_labels and len(self.reference_runs) > 0
        if self._is_cropped:
            first, last = (int(self.reference_runs[end] >> np.uint64(48)) for end in (0, -1))
            self.prediction_runs = _between(self.prediction_runs, first, last)
            self.reference_runs = _between(self.reference_runs, first, last)

    @cached_property
    def counts(self) -> Counts:
        """The voxels in each volume and in both."""
        reference_voxels, prediction_voxels = self._voxels
        scored_reference, scored_prediction = self._voxels
        if self._is_cropped:
            scored_reference, scored_prediction = _voxels(self.reference_runs), _voxels(self.prediction_runs)
        return Counts(
            reference_voxels=reference_voxels,
            prediction_voxels=prediction_voxels,
            scored_reference_voxels=scored_reference,
            scored_prediction_voxels=scored_prediction,
            overlap_voxels=int(count_shared(self.reference_runs, self.prediction_runs)),
        )

    @cached_property
    def volumes(self) -> Volumes:
        """The volumes in the whole files."""
        voxel_ml = math.prod(self.spacing.volumes_mm) / 1000
        return Volumes(
            reference_ml=self.counts.reference_voxels * voxel_ml,
            prediction_ml=self.counts.prediction_voxels * voxel_ml,
        )

    @cached_property
    def areas(self) -> SurfaceAreas:
        """The surface within the tolerance, and the whole; both volumes must have the label."""
        rules, spacing = self.rules.surface, self._surface_spacing
        tolerance_mm = rules.tolerance_mm(self.label, spacing)
        if rules.kind == "surfels":
            known = self.distances if self._measures_distances else None
            return measure_areas(self.reference_runs, self.prediction_runs, tolerance_mm, spacing, known)
        return self.distances.areas(tolerance_mm)

    @cached_property
    def distances(self) -> SurfaceDistances:
        """The distances of each surface from the other, unbounded; both volumes must have the label."""
        kind = self.rules.surface.kind
        return measure_distances(self.reference_runs, self.prediction_runs, self._surface_spacing, kind)

    @property
    def _surface_spacing(self) -> GridSpacing:
        return self.rules.surface.measured(self.spacing)

    @property
    def surface_ratio(self) -> float | None:
        """The predicted surface over the reference's; `None` where no surface was measured."""
        if "areas" not in self.__dict__:
            return None
        reference, prediction = self.areas.whole_mm2
        return prediction / reference

    @property
    def diagonal_mm(self) -> float:
        """The longest distance in the volume, measured as surfaces are."""
        sizes = self._surface_spacing.distances_mm
        return math.sqrt(sum((voxels * size) ** 2 for voxels, size in zip(self.shape, sizes, strict=True)))

    @cached_property
    def borders(self) -> Borders:
        """The border voxels; both volumes must have the label."""
        one, other = border_runs(self.reference_runs), border_runs(self.prediction_runs)
        return Borders(
            reference_voxels=len(one),
            prediction_voxels=len(other),
            shared_voxels=int(count_shared(one, other)),
        )

    @cached_property
    def skeletons(self) -> Skeletons:
        """The skeletons; both volumes must have the label."""
        return compare_skeletons(self.reference_runs, self.prediction_runs)

    @cached_property
    def lesions(self) -> Lesions:
        """The label's components, matched."""
        surface = self.rules.lesion_surface
        return Lesions(
            (self.reference_runs, self.prediction_runs),
            self.rules.lesions,
            shape=self.shape,
            spacing=surface.measured(self.spacing),
            surface=surface.kind,
        )

    @property
    def lesion_tolerance_mm(self) -> float:
        """The tolerance of NSD of single lesions."""
        surface = self.rules.lesion_surface
        return surface.tolerance_mm(self.label, surface.measured(self.spacing))


class CasePair:
    """All labels of a reference and a prediction on the same grid.

    Attributes:
        labels: One `LabelPair` for each scored label, in table order.
        predicted_voxels: How many voxels of the prediction carry a value that any of them is made of.
        rules: The profile.
        spacing: Voxel sizes.
    """

    def __init__(
        self,
        reference: NDArray[np.uint8] | Sequence[NDArray[np.uint8]],
        prediction: NDArray[np.uint8],
        scoring: Scoring,
        spacing: GridSpacing,
    ) -> None:
        """Find the runs of both volumes.

        Args:
            reference: Labels on axes x, y, z; fastest if x is the fastest axis in memory. Of several, one
                for each rater, the consensus is the reference.
            prediction: The same.
            scoring: Which labels to look at, by which rules, with how many threads.
            spacing: Voxel sizes.

        Raises:
            RequestError: An axis is too long.
        """
        self.rules = scoring.rules
        self.spacing = spacing
        self._threads = scoring.threads or usable_cores()
        wanted = np.zeros(LABELS, np.bool_)
        wanted[list(scoring.labels.voxel_values)] = True
        raters = [reference] if isinstance(reference, np.ndarray) else reference
        annotated = tuple(runs_of(volume, wanted, self._threads) for volume in raters)
        reference_runs = annotated[0] if len(annotated) == 1 else Consensus(annotated)
        prediction_runs = runs_of(prediction, wanted, self._threads)
        self.predicted_voxels = int(prediction_runs.voxels.sum())
        x, y, z = prediction.shape
        shape = x, y, z
        self.labels = tuple(
            LabelPair(label, reference_runs, prediction_runs, scoring=scoring, spacing=spacing, shape=shape)
            for label in scoring.labels
        )

    def for_each_label(self, function: Callable[[LabelPair], R]) -> list[R]:
        """Return the function's results in table order, several labels at a time."""
        # The labels with the largest surface first, so that the last one to finish is a short one.
        order = sorted(range(len(self.labels)), key=lambda i: -len(self.labels[i].reference_runs))
        results = spread(function, [self.labels[index] for index in order], self._threads)
        found = dict(zip(order, results, strict=True))
        return [found[index] for index in range(len(self.labels))]


def runs_of(volume: NDArray[np.uint8], wanted: NDArray[np.bool_], threads: int) -> LabelRuns:
    """Return the runs of a volume.

    Args:
        volume: Labels on axes x, y, z; fastest if x is the fastest axis in memory.
        wanted: 256 flags, which labels matter.
        threads: How many threads may work.

    Raises:
        RequestError: An axis is too long.
    """
    if max(volume.shape) > LARGEST_AXIS:
        raise RequestError(f"an axis of more than {LARGEST_AXIS} voxels", mend="Cut the volume into parts")
    pieces = max(1, min(volume.shape[2], 4 * threads)) if threads > 1 else 1
    return find_runs(np.ascontiguousarray(volume.T), wanted, partial(spread, threads=threads), pieces)


def count_voxels(volume: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many voxels carry each of the labels 0 to 255.

    Args:
        volume: Labels on axes x, y, z; fastest if x is the fastest axis in memory.
    """
    return runs_of(volume, np.ones(LABELS, np.bool_), 1).voxels


def _between(runs: NDArray[np.uint64], first_slice: int, end_slice: int) -> NDArray[np.uint64]:
    """Return the runs of the slices from `first_slice` to the one before `end_slice`."""
    bounds = np.array([first_slice, end_slice], np.uint64) << np.uint64(48)
    first, end = np.searchsorted(runs, bounds)
    return runs[first:end]


def _voxels(runs: NDArray[np.uint64]) -> int:
    low = np.uint64(0xFFFF)
    return int((runs & low).sum() - ((runs >> np.uint64(16)) & low).sum()) + len(runs)
