"""How much surface runs through a corner of the voxel grid.

The surface of a mask is measured where eight voxels meet. Which of the eight are inside gives a code of 8
bits; each code has a patch of triangles (marching cubes) and so an area, in mm^2 for a given spacing.

            z-1: a  b        bit of voxel (dz, dy, dx) of the corner: 4 dz + 2 dy + dx
                             a: dz 0, dy 0    b: dz 0, dy 1    each with dx 0 and 1
              z: c  d        c: dz 1, dy 0    d: dz 1, dy 1

Mirroring the cube, swapping its axes, or exchanging inside and outside does not change the patch, so the
256 codes fall into 14 classes. The patches of the classes are those of DeepMind's surface-distance (their
normals for unit voxels), whose numbers this package reproduces.
"""

from __future__ import annotations

import itertools
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

CODES = 256

# One code of each class but the empty one, and the patch's normals along (dz, dy, dx), times 8.
_CLASSES = {
    0b10000000: [(1, 1, 1)],
    0b11000000: [(2, 2, 0), (2, 2, 0)],
    0b01100000: [(1, 1, 1), (1, 1, 1)],
    0b11100000: [(4, 0, 0), (2, 2, 2), (1, 1, 1)],
    0b11110000: [(4, 0, 0), (4, 0, 0)],
    0b01101000: [(1, 1, 1), (1, 1, 1), (1, 1, 1)],
    0b11101000: [(1, 1, 1), (2, 2, 2), (2, 2, 2), (1, 1, 1)],
    0b00011000: [(1, 1, 1), (1, 1, 1)],
    0b10011000: [(0, 2, 2), (0, 2, 2), (1, 1, 1)],
    0b11011000: [(1, 1, 1), (3, 3, 3), (0, 2, 2), (2, 0, 2)],
    0b01111000: [(4, 0, 0), (1, 1, 1), (2, 2, 2), (1, 1, 1)],
    0b00111100: [(2, 2, 0), (2, 2, 0), (2, 2, 0), (2, 2, 0)],
    0b10010110: [(1, 1, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)],
}


@lru_cache(maxsize=64)
def corner_areas(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    """Return the surface area in mm^2 of each of the 256 corner codes.

    The operations are those of surface-distance, in its order, so that areas that are equal there are equal
    here: a percentile of surface distances can hang on that.

    Args:
        spacing_mm: Voxel size along x, y, z.
    """
    x, y, z = spacing_mm
    areas = np.zeros(CODES)
    triangle_areas: dict[tuple[float, ...], float] = {}
    for code, patch in _patches().items():
        for triangle in patch:
            if triangle not in triangle_areas:
                dz, dy, dx = triangle
                # A normal's component along one axis grows with the voxel face the other two axes span.
                normal = np.array([dx * y * z, dy * x * z, dz * x * y])
                triangle_areas[triangle] = float(np.linalg.norm(normal))
            areas[code] += triangle_areas[triangle]
    areas.flags.writeable = False
    return areas


@cache
def _patches() -> dict[int, list[tuple[float, ...]]]:
    """Return the triangles of each code: absolute components of their normals along (dz, dy, dx)."""
    patches = {}
    for code, patch in _CLASSES.items():
        corner = np.array([code >> bit & 1 for bit in range(8)]).reshape(2, 2, 2)
        for axes in itertools.permutations(range(3)):
            triangles = [tuple(triangle[axis] / 8 for axis in axes) for triangle in patch]
            swapped = corner.transpose(axes)
            for steps in itertools.product((1, -1), repeat=3):
                mirrored = swapped[:: steps[0], :: steps[1], :: steps[2]].ravel()
                same = int(mirrored @ (1 << np.arange(8)))
                patches[same] = patches[CODES - 1 - same] = triangles
    return patches
