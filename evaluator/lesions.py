"""The lesions of one label in two volumes: which there are, which belong together, and how well they agree.

A lesion is a connected component. Everything comes from runs: sizes, shared voxels and touches from one walk
each (components.py), per-lesion distances from the runs of the lesion and of its match alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from evaluator import components
from evaluator.distances import GridSpacing, SurfaceDistances, SurfaceKind, measure_distances
from evaluator.lesion_rules import LesionRules
from evaluator.matching import Pairs, match
from evaluator.regions import split_by_region

Runs = NDArray[np.uint64]
_STEPS = {6: 1, 18: 2, 26: 3}


@dataclass(frozen=True, eq=False)
class Components:
    """The components of one label in one volume.

    Attributes:
        runs: The label's runs.
        numbers: The component of each run.
        voxels: Sizes of the components.
    """

    runs: Runs
    numbers: NDArray[np.int64]
    voxels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.voxels)

    @cached_property
    def _by_number(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        order = np.argsort(self.numbers, kind="stable")
        return order, np.searchsorted(self.numbers[order], np.arange(len(self) + 1))

    def runs_of(self, *numbers: int) -> Runs:
        """Return the runs of some components together, sorted."""
        order, ends = self._by_number
        chosen = [order[ends[number] : ends[number + 1]] for number in numbers]
        return self.runs[chosen[0] if len(chosen) == 1 else np.sort(np.concatenate(chosen))]


def components_of(
    runs: Runs, rules: LesionRules, shape: tuple[int, int, int], *, dilated: bool
) -> Components:
    """Return the components of a label.

    Args:
        runs: Its runs.
        rules: Connectivity and dilation.
        shape: Voxels along x, y, z, which a dilation does not leave.
        dilated: Tell them apart after the dilation; each keeps its own voxels.
    """
    steps = _STEPS[rules.connectivity]
    if dilated and rules.dilation and rules.merges and len(runs):
        wide = components.dilate(runs, rules.dilation, np.array(shape))
        numbers, count = components.numbers_of_covered(runs, wide, components.find_components(wide, steps)[0])
    else:
        numbers, count = components.find_components(runs, steps)
    return Components(runs, numbers, components.voxels_by_component(runs, numbers, count))


class Lesions:
    """The lesions of one label in a reference and a prediction.

    Attributes:
        reference: The reference's.
        prediction: The prediction's.
        rules: How they are matched and averaged.
    """

    def __init__(
        self,
        runs: tuple[Runs, Runs],
        rules: LesionRules,
        *,
        shape: tuple[int, int, int],
        spacing: GridSpacing,
        surface: SurfaceKind = "surfels",
    ) -> None:
        self.rules = rules
        self.reference = components_of(runs[0], rules, shape, dilated=True)
        self.prediction = components_of(runs[1], rules, shape, dilated=False)
        self._shape = shape
        self._spacing = spacing
        self._surface: SurfaceKind = surface
        self._distances: dict[int, SurfaceDistances] = {}

    @property
    def _by_regions(self) -> bool:
        """Whether the prediction is cut by the regions of reference lesions, of which there are some."""
        return self.rules.matching == "voronoi" and len(self.reference) > 0

    @cached_property
    def _parts(self) -> Components:
        """What can be matched: the predicted lesions, or what lies in each reference lesion's region."""
        if not self._by_regions:
            return self.prediction
        runs, numbers = split_by_region(
            self.prediction.runs, self.reference.runs, self.reference.numbers, self._spacing.distances_mm
        )
        voxels = components.voxels_by_component(runs, numbers, len(self.reference))
        return Components(runs, numbers, voxels)

    @cached_property
    def shared(self) -> Pairs:
        """The voxels that a reference lesion and a predicted one share, by their numbers."""
        one, other = self.reference, self.prediction
        keys, counts = components.shared_by_pair(one.runs, one.numbers, other.runs, other.numbers)
        return _pairs(keys, counts)

    @cached_property
    def _shared_parts(self) -> Pairs:
        if not self._by_regions:
            return self.shared
        one, other = self.reference, self._parts
        return _pairs(*components.shared_by_pair(one.runs, one.numbers, other.runs, other.numbers))

    @cached_property
    def _touching(self) -> Pairs:
        if self.rules.matching != "touch" or not self.rules.dilation:
            return self.shared
        one, other, reach = self.reference, self.prediction, self.rules.dilation
        return _pairs(*components.touching_pairs(one.runs, one.numbers, other.runs, other.numbers, reach))

    @cached_property
    def kept(self) -> tuple[int, ...]:
        """The reference lesions that are not left out for their size."""
        limit = self.rules.ignored_mm3
        sizes = self.reference.voxels * self.voxel_mm3
        keeps = sizes >= limit if self.rules.keeps_limit else sizes > limit
        return tuple(int(number) for number in np.flatnonzero(keeps))

    @property
    def voxel_mm3(self) -> float:
        """The volume of a voxel."""
        return math.prod(self._spacing.volumes_mm)

    @cached_property
    def _all_matches(self) -> dict[int, tuple[int, ...]]:
        if self._by_regions:
            return match(self._shared_parts, self.reference.voxels, self._parts.voxels, self.rules)
        if self.rules.matching != "touch":
            return match(self._touching, self.reference.voxels, self.prediction.voxels, self.rules)
        matched: dict[int, tuple[int, ...]] = {}
        for reference, prediction in sorted(self._touching):
            matched[reference] = (*matched.get(reference, ()), prediction)
        return matched

    @cached_property
    def matched(self) -> dict[int, tuple[int, ...]]:
        """The predicted lesions, or parts, of each kept reference lesion that has any."""
        return {number: self._all_matches[number] for number in self.kept if number in self._all_matches}

    @cached_property
    def missed(self) -> tuple[int, ...]:
        """The kept reference lesions without a match."""
        return tuple(number for number in self.kept if number not in self.matched)

    @cached_property
    def counted(self) -> tuple[int, ...]:
        """The reference lesions that counts are of: the kept ones, or all if the rules say so."""
        return tuple(range(len(self.reference))) if self.rules.counts_ignored else self.kept

    @cached_property
    def found(self) -> tuple[int, ...]:
        """The counted reference lesions that have a match."""
        return tuple(number for number in self.counted if number in self._all_matches)

    @property
    def not_found(self) -> int:
        """How many counted reference lesions have no match."""
        return len(self.counted) - len(self.found)

    @cached_property
    def false(self) -> tuple[int, ...]:
        """The predicted lesions that belong to no reference lesion; parts of regions all do to one.

        Those of lesions that are left out for their size are false only if the rules say so.
        """
        if self._by_regions:
            return ()
        matches = self.matched if self.rules.ignored_is_false else self._all_matches
        used = {prediction for found in matches.values() for prediction in found}
        return tuple(number for number in range(len(self.prediction)) if number not in used)

    def dice(self, reference: int) -> float:
        """Return Dice of a matched reference lesion with its match."""
        return 2 * self._overlap(reference) / (int(self.reference.voxels[reference]) + self._size(reference))

    def iou(self, reference: int) -> float:
        """Return intersection over union of a matched reference lesion with its match."""
        overlap = self._overlap(reference)
        return overlap / (int(self.reference.voxels[reference]) + self._size(reference) - overlap)

    def _overlap(self, reference: int) -> int:
        return sum(
            self._shared_parts.get((reference, prediction), 0) for prediction in self._all_matches[reference]
        )

    def _size(self, reference: int) -> int:
        return int(sum(self._parts.voxels[prediction] for prediction in self._all_matches[reference]))

    def distances(self, reference: int) -> SurfaceDistances:
        """Return the surface distances of a matched reference lesion and its match."""
        if reference not in self._distances:
            self._distances[reference] = measure_distances(
                self.reference.runs_of(reference),
                self._parts.runs_of(*self.matched[reference]),
                self._spacing,
                self._surface,
            )
        return self._distances[reference]

    @property
    def missed_mm(self) -> float:
        """What a missed or false lesion costs in mm; NaN if it is left out of means."""
        if self.rules.missed_mm != "diagonal":
            return self.rules.missed_mm
        return math.hypot(*(n * mm for n, mm in zip(self._shape, self._spacing.distances_mm, strict=True)))

    def mean(self, values: list[float], worst: float) -> float:
        """Return the mean over lesions that the rules ask for; NaN if there are none.

        Args:
            values: Of the matched lesions.
            worst: What missed and false ones count; NaN leaves them out.
        """
        others = len(self.missed) + len(self.false)
        if self.rules.needs_reference and not self.kept:
            return math.nan
        if self.rules.means_over == "matched":
            others = 0 if values else min(others, 1)
        if math.isnan(worst):
            others = 0
        if not values and not others:
            return math.nan
        return (sum(values) + (others * worst if others else 0.0)) / (len(values) + others)


def _pairs(keys: NDArray[np.uint64], counts: NDArray[np.int64]) -> Pairs:
    low = np.uint64(0xFFFFFFFF)
    return {
        (int(key >> np.uint64(32)), int(key & low)): int(count)
        for key, count in zip(keys, counts, strict=True)
    }
