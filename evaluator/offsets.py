"""How long an offset between two places of the voxel grid is, for searches of the nearest one."""

# mypy: disable-error-code="no-untyped-def, no-untyped-call"

from __future__ import annotations

from evaluator.compilation import kernel


@kernel
def squared_length(dz, dy, dx, sizes):
    """Return the squared length of an offset, in the order of operations of SciPy's distance transform."""
    x, y, z = dx * sizes[0], dy * sizes[1], dz * sizes[2]
    return ((x * x) + (y * y)) + (z * z)


@kernel
def gap(place, first, last):
    """Return how many steps a place is from the nearest of those from `first` to `last`."""
    return max(first - place, place - last, 0)
