"""Distances between surfaces without a bound: how many elements are how far away, both ways.

A surface is made of corners of the voxel grid, weighed by the area of the patch there, or of the voxels at a
mask's border, which weigh the same each (`SurfaceKind`). nearest.py finds each element's partner and counts
offsets; here counts become distances, with the floating-point operations of SciPy's distance transform.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.areas import corner_areas
from evaluator.bits import count_bits, lowest_bit
from evaluator.compilation import kernel
from evaluator.masks import (
    BORDERS_6,
    BORDERS_18,
    SURFELS,
    corner_code,
    corner_extent,
    draw,
    find_corners,
    mask_box,
    mask_words,
    surface_mask,
)
from evaluator.nearest import count_offsets, search_order

Spacing = tuple[float, float, float]

SurfaceKind = Literal["surfels", "voxels", "voxels18"]
"""`surfels`: corners of the voxel grid, by area. `voxels`: those of the mask with one of 6 neighbours
outside; `voxels18`: with one of 18."""

Join = Literal["pooled", "mean"]
"""How the two surfaces become one share: by all their elements together, or as the mean of two shares."""

_KINDS = {"surfels": SURFELS, "voxels": BORDERS_6, "voxels18": BORDERS_18}
_TIE = 1e-9


@dataclass(frozen=True)
class GridSpacing:
    """The voxel size along x, y, z, for the things that it is used for.

    Attributes:
        volumes_mm: What volumes in ml are made of: the size as the file states it.
        areas_mm: What weighs surface elements: the same, unless a profile takes the number otherwise.
        distances_mm: What every distance between surfaces is measured with; the exact profile undoes
            float32's rounding there.
    """

    volumes_mm: Spacing
    areas_mm: Spacing
    distances_mm: Spacing

    @property
    def reversed(self) -> GridSpacing:
        """The sizes in the order z, y, x where x, y, z is meant, as some official scripts take them."""
        return GridSpacing(self.volumes_mm, self.areas_mm[::-1], self.distances_mm[::-1])

    def all_of(self, size_mm: float) -> GridSpacing:
        """Return the same for distances and areas that are measured as if every voxel had one size."""
        return GridSpacing(self.volumes_mm, 3 * (size_mm,), 3 * (size_mm,))


@dataclass(frozen=True, eq=False)
class Directed:
    """Distances of the surface elements of one volume from the nearest element of the other.

    Attributes:
        distances_mm: Ascending, one per kind of element: equal distance and equal area.
        areas_mm2: The area of one element of each kind, ascending among equal distances; 1 for border voxels.
        counts: How many elements there are of each kind.
    """

    distances_mm: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def elements(self) -> int:
        """How many elements the surface has."""
        return int(self.counts.sum())

    @cached_property
    def _weights(self) -> NDArray[np.float64]:
        return self.areas_mm2 * self.counts

    @cached_property
    def area_mm2(self) -> float:
        """The area of all elements."""
        return float(self._weights.sum())

    @property
    def integral_mm3(self) -> float:
        """The distances, each times its element's area."""
        return float(self.distances_mm @ self._weights)

    @property
    def square_integral(self) -> float:
        """The squared distances, each times its element's area."""
        return float(np.square(self.distances_mm) @ self._weights)

    @property
    def mean_mm(self) -> float:
        """The mean distance, by area."""
        return self.integral_mm3 / self.area_mm2

    @property
    def largest_mm(self) -> float:
        """The largest distance."""
        return float(self.distances_mm[-1])

    def percentile_mm(self, share: float) -> float:
        """Return the smallest distance at which the cumulated area reaches a share of the whole."""
        reached = np.cumsum(self._weights) / self.area_mm2
        index = int(np.searchsorted(reached, share))
        ends = np.abs(reached - share) <= _TIE
        if ends.any() and share < 1:
            # Whether the share is reached hangs on rounding: add up element by element, as surface-distance.
            areas = np.repeat(self.areas_mm2, self.counts)
            place = int(np.searchsorted(np.cumsum(areas) / np.sum(areas), share))
            index = int(np.searchsorted(np.cumsum(self.counts), place, side="right"))
        return float(self.distances_mm[min(index, len(self.distances_mm) - 1)])

    def quantile_mm(self, share: float) -> float:
        """Return the quantile of the distances, each element counting one, interpolated as NumPy does."""
        return _quantile(self.distances_mm, self.counts, share)

    def area_within_mm2(self, tolerance_mm: float) -> float:
        """Return the area of the elements that are no farther away than the tolerance."""
        return float(self._weights[: np.searchsorted(self.distances_mm, tolerance_mm, side="right")].sum())


@dataclass(frozen=True)
class SurfaceAreas:
    """How much surface of both volumes lies within a tolerance of the other volume's.

    Attributes:
        within_mm2: That area, of the reference's surface and of the prediction's.
        whole_mm2: The area of each surface.
    """

    within_mm2: tuple[float, float]
    whole_mm2: tuple[float, float]

    def share(self, join: Join = "pooled") -> float:
        """Return the share within: of both surfaces together, or the mean of their two shares."""
        if join == "pooled":
            return sum(self.within_mm2) / sum(self.whole_mm2)
        one, other = (part / whole for part, whole in zip(self.within_mm2, self.whole_mm2, strict=True))
        return (one + other) / 2


@dataclass(frozen=True)
class SurfaceDistances:
    """The distances between the surfaces of one label in two volumes, both ways.

    Attributes:
        from_reference: Of the reference's elements from the prediction's.
        from_prediction: Of the prediction's elements from the reference's.
        by_area: Whether elements weigh what their area is; else each counts one.
    """

    from_reference: Directed
    from_prediction: Directed
    by_area: bool = True

    @property
    def both(self) -> tuple[Directed, Directed]:
        """Both directions."""
        return self.from_reference, self.from_prediction

    def areas(self, tolerance_mm: float) -> SurfaceAreas:
        """Return the area of the elements within the tolerance, and of all."""
        one, other = self.both
        return SurfaceAreas(
            (one.area_within_mm2(tolerance_mm), other.area_within_mm2(tolerance_mm)),
            (one.area_mm2, other.area_mm2),
        )

    def percentile_mm(self, share: float, *, pooled: bool = False) -> float:
        """Return a percentile of the distances.

        By area it is the smallest distance at which the share is reached; of border voxels it is
        interpolated.

        Args:
            share: 0 to 1.
            pooled: Take one percentile of both directions' distances together, counting elements, instead
                of the larger one of the two directions' percentiles.
        """
        if pooled:
            distances = np.concatenate([one.distances_mm for one in self.both])
            order = np.argsort(distances, kind="stable")
            counts = np.concatenate([one.counts for one in self.both])
            return _quantile(distances[order], counts[order], share)
        if self.by_area:
            return max(one.percentile_mm(share) for one in self.both)
        return max(one.quantile_mm(share) for one in self.both)


def measure_distances(
    reference_runs: NDArray[np.uint64],
    prediction_runs: NDArray[np.uint64],
    spacing: GridSpacing,
    surface: SurfaceKind = "surfels",
) -> SurfaceDistances:
    """Return the distances between the surfaces of one label in two volumes.

    Args:
        reference_runs: The label's runs in the reference, packed; at least one.
        prediction_runs: The same of the prediction.
        spacing: Voxel sizes.
        surface: What the surface is made of.
    """
    kind = _KINDS[surface]
    reference, prediction = surface_mask(reference_runs, kind), surface_mask(prediction_runs, kind)
    order = search_order(spacing.distances_mm)
    areas = corner_areas(spacing.areas_mm) if kind == SURFELS else None

    def directed(one: tuple[object, ...], other: tuple[object, ...]) -> Directed:
        keys, counts = count_offsets(one, other, order.offsets, order.rows, order.sizes, areas is not None)
        return _directed(keys, counts, spacing.distances_mm, areas)

    return SurfaceDistances(
        directed(reference, prediction), directed(prediction, reference), by_area=areas is not None
    )


def _directed(
    keys: NDArray[np.uint64],
    counts: NDArray[np.int64],
    spacing_mm: Spacing,
    areas: NDArray[np.float64] | None,
) -> Directed:
    low = np.uint64(0xFFFF)
    x, y, z = (
        ((keys >> np.uint64(shift)) & low).astype(np.int64) * size
        for shift, size in zip((8, 24, 40), spacing_mm, strict=True)
    )
    distances = np.sqrt(((x * x) + (y * y)) + (z * z))
    weights = np.ones(len(keys)) if areas is None else areas[(keys & np.uint64(0xFF)).astype(np.int64)]
    order = np.lexsort((weights, distances))
    return Directed(distances[order], weights[order], counts[order])


def _quantile(distances: NDArray[np.float64], counts: NDArray[np.int64], share: float) -> float:
    """Return the quantile of ascending distances with counts, interpolated between neighbours."""
    ends = np.cumsum(counts)
    place = (int(ends[-1]) - 1) * share
    first = int(place)
    low, high = (
        float(distances[np.searchsorted(ends, min(index, int(ends[-1]) - 1), side="right")])
        for index in (first, first + 1)
    )
    part = place - first
    # The operations of numpy.percentile, which rounds from the nearer end.
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)


@dataclass(frozen=True)
class Elements:
    """The surface elements of one label of one volume.

    Attributes:
        places: Corner indices, n x 3, on axes x, y, z.
        codes: Corner codes, n.
    """

    places: NDArray[np.int64]
    codes: NDArray[np.int64]


def measure_distances_as_scipy(
    reference_runs: NDArray[np.uint64], prediction_runs: NDArray[np.uint64], spacing: GridSpacing
) -> SurfaceDistances:
    """Return the same from SciPy's distance transform, which surface-distance uses; slow.

    Among partners at the same true distance, whose computed distances differ by rounding, the transform
    picks by its own order of work. Only doing that work tells which.
    """
    reference, prediction = surface_elements(reference_runs), surface_elements(prediction_runs)
    areas = corner_areas(spacing.areas_mm)

    def directed(one: Elements, other: Elements) -> Directed:
        distances, weights = _transformed_mm(one, other, spacing.distances_mm), areas[one.codes]
        order = np.lexsort((weights, distances))
        return Directed(distances[order], weights[order], np.ones(len(order), np.int64))

    return SurfaceDistances(directed(reference, prediction), directed(prediction, reference))


def surface_elements(runs: NDArray[np.uint64]) -> Elements:
    """Return the surface elements of a label, given its runs."""
    places, codes = _list_elements(runs)
    return Elements(places, codes)


def _transformed_mm(elements: Elements, others: Elements, spacing_mm: Spacing) -> NDArray[np.float64]:
    from scipy.ndimage import distance_transform_edt

    low = np.minimum(elements.places.min(axis=0), others.places.min(axis=0))
    shape = np.maximum(elements.places.max(axis=0), others.places.max(axis=0)) - low + 1
    elsewhere = np.ones(shape, np.bool_)
    elsewhere[tuple((others.places - low).T)] = False
    transform = distance_transform_edt(elsewhere, sampling=spacing_mm)
    return np.asarray(transform[tuple((elements.places - low).T)], np.float64)


@kernel
def _list_elements(runs):
    """Return places (n x 3, on axes x, y, z) and codes of the surface elements."""
    box = mask_box(corner_extent(runs))
    first_z, first_y, first_word, _, rows, words = box
    mask = np.empty(mask_words(box), np.uint64)
    surface = np.empty(mask.size, np.uint64)
    draw(runs, box, mask)
    find_corners(mask, box, surface)
    count = 0
    for i in range(surface.size):
        count += count_bits(surface[i])
    places = np.empty((count, 3), np.int64)
    codes = np.empty(count, np.int64)
    index = 0
    for i in range(surface.size):
        elements = surface[i]
        while elements:
            x = lowest_bit(elements)
            elements &= elements - np.uint64(1)
            places[index, 0] = 64 * (first_word + i % words) + x
            places[index, 1] = first_y + i // words % rows
            places[index, 2] = first_z + i // words // rows
            codes[index] = corner_code(mask, i, rows * words, words, np.uint64(x))
            index += 1
    return places, codes
