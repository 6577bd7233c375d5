"""Distances between surfaces without a bound: HD95, average surface distance, and two rare cases of NSD.

The kernels of surface.py only ask whether a partner is within the tolerance. Here each surface element gets
its distance to the nearest element of the other volume, from a k-d tree, and the distance itself from the
offset in voxels, with the floating-point operations of SciPy's distance transform.
"""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator._bits import count_bits, lowest_bit
from evaluator._compile import kernel
from evaluator.areas import corner_areas
from evaluator.masks import corner_code, corner_extent, draw, find_corners, mask_box, mask_words

Spacing = tuple[float, float, float]


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
class SurfaceDistances:
    """Distances of a label's surface elements in two volumes, each from the nearest element of the other.

    Attributes:
        forth_mm: For each element of the first volume.
        forth_areas: The elements' areas in mm^2.
        back_mm: For each element of the second volume.
        back_areas: The elements' areas in mm^2.
    """

    forth_mm: NDArray[np.float64]
    forth_areas: NDArray[np.float64]
    back_mm: NDArray[np.float64]
    back_areas: NDArray[np.float64]

    def hd95_mm(self) -> float:
        """Return the 95th percentile of the distances, by area, of the worse direction.

        As surface-distance's `compute_robust_hausdorff(..., 95)` defines it.
        """
        return max(
            _percentile(self.forth_mm, self.forth_areas, 0.95),
            _percentile(self.back_mm, self.back_areas, 0.95),
        )

    def assd_mm(self) -> float:
        """Return the mean of the two directions' average distance, each weighted by area.

        The directions are surface-distance's `compute_average_surface_distance`.
        """
        forth = float((self.forth_mm * self.forth_areas).sum() / self.forth_areas.sum())
        back = float((self.back_mm * self.back_areas).sum() / self.back_areas.sum())
        return (forth + back) / 2

    def surface_dice(self, tolerance_mm: float) -> float:
        """Return the area of the elements within the tolerance over the area of all."""
        within = self.forth_areas[self.forth_mm <= tolerance_mm].sum()
        within += self.back_areas[self.back_mm <= tolerance_mm].sum()
        return float(within / (self.forth_areas.sum() + self.back_areas.sum()))


def measure_distances(
    runs: NDArray[np.uint64], other_runs: NDArray[np.uint64], *, spacing_mm: Spacing, area_spacing_mm: Spacing
) -> SurfaceDistances:
    """Return the distances between the surfaces of one label in two volumes.

    Args:
        runs: The label's runs in one volume, packed; at least one.
        other_runs: The same of the other.
        spacing_mm: Voxel size along x, y, z that distances are measured with.
        area_spacing_mm: Voxel size that areas are measured with.
    """
    one, other = surface_elements(runs), surface_elements(other_runs)
    areas = corner_areas(area_spacing_mm)
    return SurfaceDistances(
        _nearest_mm(one, other, spacing_mm),
        areas[one.codes],
        _nearest_mm(other, one, spacing_mm),
        areas[other.codes],
    )


def measure_distances_as_scipy(
    runs: NDArray[np.uint64], other_runs: NDArray[np.uint64], *, spacing_mm: Spacing, area_spacing_mm: Spacing
) -> SurfaceDistances:
    """Return the same from SciPy's distance transform, which surface-distance uses; slow.

    Among partners at the same true distance, whose computed distances differ by rounding, the transform
    picks by its own order of work. Only doing that work tells which.
    """
    from scipy.ndimage import distance_transform_edt

    one, other = surface_elements(runs), surface_elements(other_runs)
    low = np.minimum(one.places.min(axis=0), other.places.min(axis=0))
    shape = np.maximum(one.places.max(axis=0), other.places.max(axis=0)) - low + 1
    areas = corner_areas(area_spacing_mm)

    def distances(elements: Elements, others: Elements) -> NDArray[np.float64]:
        elsewhere = np.ones(shape, np.bool_)
        elsewhere[tuple((others.places - low).T)] = False
        transform = distance_transform_edt(elsewhere, sampling=spacing_mm)
        return np.asarray(transform[tuple((elements.places - low).T)], np.float64)

    return SurfaceDistances(
        distances(one, other), areas[one.codes], distances(other, one), areas[other.codes]
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


def _percentile(distances: NDArray[Any], areas: NDArray[Any], fraction: float) -> float:
    order = np.lexsort((areas, distances))
    share = np.cumsum(areas[order]) / np.sum(areas[order])
    index = min(int(np.searchsorted(share, fraction)), len(order) - 1)
    return float(distances[order[index]])


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
