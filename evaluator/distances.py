"""Distances between surfaces without a bound: for HD95, ASSD and MASD, and two rare cases of NSD.

The kernels of surface.py only ask whether a partner is within the tolerance. Here each surface element gets
its distance to the nearest element of the other volume, from a k-d tree, and the distance itself from the
offset in voxels, with the floating-point operations of SciPy's distance transform.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluator.areas import corner_areas
from evaluator.bits import count_bits, lowest_bit
from evaluator.compilation import kernel
from evaluator.masks import corner_code, corner_extent, draw, find_corners, mask_box, mask_words

Spacing = tuple[float, float, float]


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


@dataclass(frozen=True)
class Elements:
    """The surface elements of one label of one volume.

    Attributes:
        places: Corner indices, n x 3, on axes x, y, z.
        codes: Corner codes, n.
    """

    places: NDArray[np.int64]
    codes: NDArray[np.int64]


@dataclass(frozen=True)
class Directed:
    """Distances of the surface elements of one volume from the nearest element of the other.

    Attributes:
        distances_mm: One per element.
        areas_mm2: The elements' areas.
    """

    distances_mm: NDArray[np.float64]
    areas_mm2: NDArray[np.float64]

    @property
    def area_mm2(self) -> float:
        """The area of all elements."""
        return float(self.areas_mm2.sum())

    @property
    def integral_mm3(self) -> float:
        """The distances, each times its element's area."""
        return float((self.distances_mm * self.areas_mm2).sum())

    @property
    def mean_mm(self) -> float:
        """The mean distance, by area."""
        return self.integral_mm3 / self.area_mm2

    def percentile_mm(self, share: float) -> float:
        """Return the smallest distance at which the cumulated area reaches a share of the whole."""
        order = np.lexsort((self.areas_mm2, self.distances_mm))
        reached = np.cumsum(self.areas_mm2[order]) / np.sum(self.areas_mm2[order])
        index = min(int(np.searchsorted(reached, share)), len(order) - 1)
        return float(self.distances_mm[order[index]])

    def area_within_mm2(self, tolerance_mm: float) -> float:
        """Return the area of the elements that are no farther away than the tolerance."""
        return float(self.areas_mm2[self.distances_mm <= tolerance_mm].sum())


@dataclass(frozen=True)
class SurfaceAreas:
    """How much surface of both volumes lies within a tolerance of the other volume's.

    Attributes:
        within_mm2: That area.
        whole_mm2: The area of both surfaces.
    """

    within_mm2: float
    whole_mm2: float


@dataclass(frozen=True)
class SurfaceDistances:
    """The distances between the surfaces of one label in two volumes, both ways.

    Attributes:
        from_reference: Of the reference's elements from the prediction's.
        from_prediction: Of the prediction's elements from the reference's.
    """

    from_reference: Directed
    from_prediction: Directed

    def areas(self, tolerance_mm: float) -> SurfaceAreas:
        """Return the area of the elements within the tolerance, and of all."""
        both = (self.from_reference, self.from_prediction)
        return SurfaceAreas(
            sum(one.area_within_mm2(tolerance_mm) for one in both), sum(one.area_mm2 for one in both)
        )


def measure_distances(
    reference_runs: NDArray[np.uint64], prediction_runs: NDArray[np.uint64], spacing: GridSpacing
) -> SurfaceDistances:
    """Return the distances between the surfaces of one label in two volumes.

    Args:
        reference_runs: The label's runs in the reference, packed; at least one.
        prediction_runs: The same of the prediction.
        spacing: Voxel sizes.
    """
    return _both_ways(reference_runs, prediction_runs, spacing, _nearest_mm)


def measure_distances_as_scipy(
    reference_runs: NDArray[np.uint64], prediction_runs: NDArray[np.uint64], spacing: GridSpacing
) -> SurfaceDistances:
    """Return the same from SciPy's distance transform, which surface-distance uses; slow.

    Among partners at the same true distance, whose computed distances differ by rounding, the transform
    picks by its own order of work. Only doing that work tells which.
    """
    return _both_ways(reference_runs, prediction_runs, spacing, _transformed_mm)


def _both_ways(
    reference_runs: NDArray[np.uint64],
    prediction_runs: NDArray[np.uint64],
    spacing: GridSpacing,
    distances_mm: Callable[[Elements, Elements, Spacing], NDArray[np.float64]],
) -> SurfaceDistances:
    reference, prediction = surface_elements(reference_runs), surface_elements(prediction_runs)
    areas = corner_areas(spacing.areas_mm)
    return SurfaceDistances(
        Directed(distances_mm(reference, prediction, spacing.distances_mm), areas[reference.codes]),
        Directed(distances_mm(prediction, reference, spacing.distances_mm), areas[prediction.codes]),
    )


def surface_elements(runs: NDArray[np.uint64]) -> Elements:
    """Return the surface elements of a label, given its runs."""
    places, codes = _list_elements(runs)
    return Elements(places, codes)


def _nearest_mm(elements: Elements, others: Elements, spacing_mm: Spacing) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    spacing = np.array(spacing_mm)
    tree = cKDTree(others.places * spacing, balanced_tree=False)
    _, index = tree.query(elements.places * spacing)
    x, y, z = ((elements.places - others.places[index]) * spacing).T
    distances: NDArray[np.float64] = np.sqrt(((x * x) + (y * y)) + (z * z))
    return distances


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
