"""Do two volumes lie on the same grid? And if not, what happened?

A header may state several places: a sform and a qform that differ, a unit that readers forget, voxel sizes
that are not the affine's. A prediction on any of the places that its image's or its reference's header states
is voxel by voxel theirs, whichever its author's reader took. Only where none fits may it have been stored
with its axes flipped or swapped, which is then undone. What else sets two grids apart is told by misfit.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.header import Placed, StatedGrid
from evaluator.misfit import (
    LARGEST_SPACING_RATIO,
    NO_GEOMETRY,
    Affine,
    differences,
    mend_of,
    shape_difference,
    spacing_difference,
    times,
    turned,
    voxel_sizes,
)

_LARGEST_OFFSET_VOXELS = 0.1
_AXIS_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


@dataclass(frozen=True)
class GeometryDiagnosis:
    """How one volume's grid relates to another's.

    Attributes:
        kind: `same`: voxel by voxel comparable. `reorientable`: the same grid, stored with flipped or
            swapped axes, as the affines say. `different`: not comparable.
        text: The finding, such as "stored flipped along x" or "spacing 1x1x5 mm against 0.8x0.8x2.5 mm".
        axes: For `reorientable`: the other volume's axis that lies along each axis of the first.
        flips: For `reorientable`: whether that axis then runs the other way.
        shape: The first volume's shape, if the other one has axes of length 1 elsewhere.
        mend: For `different`: what its author can do.
    """

    kind: Literal["same", "reorientable", "different"]
    text: str
    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)
    shape: tuple[int, int, int] | None = None
    mend: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of an accepted volume's scores should know."""
        if self.kind == "reorientable":
            return (f"the prediction was {self.text}, and was reoriented",)
        return () if self.text == "same grid" else (self.text,)

    @property
    def lacks_geometry(self) -> bool:
        """Whether the other volume has what a file has that nobody gave a place."""
        return self.kind == "different" and NO_GEOMETRY in self.text

    def reorient(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the other volume's array on the first one's grid, x fastest in memory."""
        if self.shape is not None:
            array = array.reshape(self.shape, order="F")
        if self.kind == "same":
            return array
        oriented = np.transpose(array, self.axes)
        oriented = oriented[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]
        return np.asfortranarray(oriented)


def stated_grids(volume: Placed) -> tuple[StatedGrid, ...]:
    """Return every place that a volume's header states, the plainest reading first; none if it has none."""
    grids: tuple[StatedGrid, ...] = getattr(volume, "grids", ())
    if not grids and volume.affine is not None:
        return (StatedGrid("the affine", volume.affine),)
    return grids


def readers_disagree(volume: Placed) -> tuple[str, ...]:
    """Return one line for each place that a common reader takes although the first reading is another.

    None if nibabel, ITK and this package find every voxel at the same place.
    """
    first, *others = stated_grids(volume) or (None,)
    if first is None:
        return ()
    lines = []
    for grid in others:
        if grid.by_default and not _is_same(first.affine, grid.affine, volume.shape):
            far = np.array([*(np.array(volume.shape) - 1), 1.0])
            difference = grid.affine - first.affine
            apart = max(np.linalg.norm(difference[:3, 3]), np.linalg.norm((difference @ far)[:3]))
            lines.append(f"{grid.reading}: up to {apart:.4g} mm from {first.reading}")
    return tuple(lines)


def compare_geometry(reference: Placed, other: Placed, *, image: Placed | None = None) -> GeometryDiagnosis:
    """Say how the grid of `other` relates to the grid of `reference`.

    Two grids are the same if no corner voxel is off by more than a tenth of a voxel and the spacings agree
    to a part in a thousand; along an axis of one voxel neither its size nor its direction counts. Where one
    file does not say where it lies, shape and spacing decide.

    Args:
        reference: The first volume: a reference, or an image.
        other: The second one: a prediction. Of its own places only those count that a common reader takes.
        image: The image that both were made from, if it is known: its places count as the reference's, if the
            reference lies on it.
    """
    if reference.affine is None or other.affine is None:
        return _by_shape_and_spacing(reference, other, "")
    found = _on_stated_grid(reference, other)
    if found is None and image is not None and image.affine is not None:
        found = _through_image(reference, other, image)
    if found is not None:
        return found
    if not (reference.has_orientation and other.has_orientation):
        which = "the reference" if other.has_orientation else "the prediction"
        return _by_shape_and_spacing(reference, other, f"{which} does not say where it lies")
    for one, two in itertools.product(_default_grids(reference), _default_grids(other)):
        for axes in _AXIS_ORDERS:
            flips = _flips_if_same_grid(one.affine, two.affine, reference.shape, other.shape, axes)
            if flips is not None:
                return GeometryDiagnosis("reorientable", turned(axes, flips), axes, flips)
    findings = differences(reference, other)
    return GeometryDiagnosis("different", "; ".join(findings), mend=mend_of(findings))


def _through_image(reference: Placed, other: Placed, image: Placed) -> GeometryDiagnosis | None:
    """Say how `other` relates to `reference` if it lies on one of the image's places, and that one on it."""
    on_image = _on_stated_grid(image, other, " of the image's header")
    if on_image is None:
        return None
    relation = compare_geometry(reference, image)
    if relation.kind == "different":
        return None
    if relation.kind == "same":
        text = on_image.text
        if text == "same grid":
            text = f"lies where {stated_grids(image)[0].reading} of the image's header puts it"
        return replace(on_image, text=f"{text}; the reference lies elsewhere by the same header")
    return GeometryDiagnosis(
        "reorientable", relation.text, relation.axes, relation.flips, on_image.shape or relation.shape
    )


def _on_stated_grid(reference: Placed, other: Placed, of: str = "") -> GeometryDiagnosis | None:
    """Return "same" if a default place of `other` is a place that the reference's header states."""
    theirs = _default_grids(other)
    for axes, shape in _layouts(reference.shape, other.shape):
        for two, one in itertools.product(theirs, stated_grids(reference)):
            if not _is_same(one.affine, two.affine[:, axes], reference.shape):
                continue
            first = stated_grids(reference)[0]
            text = "same grid"
            if not _is_same(one.affine, first.affine, reference.shape):
                text = f"lies where {one.reading}{of} puts it, which is not where {first.reading} does"
            elif two is not theirs[0]:
                text = f"lies on the grid by {two.reading} in its own header, not by {theirs[0].reading}"
            elif shape is not None:
                text = f"stored as {times(other.shape)} for {times(reference.shape)}"
            return GeometryDiagnosis("same", text, shape=shape)
    return None


def _layouts(
    shape: tuple[int, int, int], other: tuple[int, int, int]
) -> Iterator[tuple[list[int], tuple[int, int, int] | None]]:
    """Yield the orders of affine columns that may give `other` the first shape, and that shape if it differs.

    Axes of length 1 may stand elsewhere; the columns are then those of the file or moved along with the axes.
    """
    if tuple(shape) == tuple(other):
        yield [0, 1, 2, 3], None
        return
    if [size for size in shape if size > 1] != [size for size in other if size > 1]:
        return
    yield [0, 1, 2, 3], shape
    long, short = ([axis for axis in range(3) if (other[axis] > 1) is wanted] for wanted in (True, False))
    yield [*((long if size > 1 else short).pop(0) for size in shape), 3], shape


def _default_grids(volume: Placed) -> list[StatedGrid]:
    first, *others = stated_grids(volume)
    return [first, *(grid for grid in others if grid.by_default)]


def _by_shape_and_spacing(reference: Placed, other: Placed, remark: str) -> GeometryDiagnosis:
    findings = shape_difference(reference, other)
    stated = [reference.spacing_mm, *(voxel_sizes(grid.affine) for grid in stated_grids(reference))]
    long = np.array(reference.shape) > 1
    with np.errstate(all="ignore"):
        off = [np.abs(np.array(other.spacing_mm) / sizes - 1.0)[long].max(initial=0.0) for sizes in stated]
    if not any(ratio <= LARGEST_SPACING_RATIO for ratio in off):
        findings += spacing_difference(reference, other)
        if not other.has_orientation and other.spacing_mm == (1.0, 1.0, 1.0):
            findings.append(NO_GEOMETRY)
    if findings:
        return GeometryDiagnosis("different", "; ".join(findings), mend=mend_of(findings))
    return GeometryDiagnosis("same", remark or "same grid")


def _is_same(one: Affine, two: Affine, shape: tuple[int, int, int]) -> bool:
    return _flips_if_same_grid(one, two, shape, shape, (0, 1, 2), may_flip=False) is not None


def _flips_if_same_grid(
    one: Affine,
    two: Affine,
    shape: tuple[int, int, int],
    other_shape: tuple[int, int, int],
    axes: tuple[int, ...],
    *,
    may_flip: bool = True,
) -> tuple[bool, bool, bool] | None:
    """Return which axes run the other way if `two`, axes reordered, is the grid of `one`; else None."""
    if tuple(other_shape[axis] for axis in axes) != tuple(shape):
        return None
    sizes = np.array(shape)
    long = sizes > 1
    with np.errstate(all="ignore"):
        other = two[:, [*axes, 3]]
        try:
            to_one = np.linalg.solve(one, other)
        except np.linalg.LinAlgError:
            return None
        ratios = voxel_sizes(other) / voxel_sizes(one)
        if not np.abs(ratios[long] - 1.0).max(initial=0.0) <= LARGEST_SPACING_RATIO:
            return None
        # A single voxel has neither a size nor a direction that could be wrong.
        columns = np.where(long, to_one[:3, :3], np.eye(3))
        flips = np.diag(columns) < 0
        if flips.any() and not may_flip:
            return None
        corners = np.array(list(itertools.product(*((0, size - 1) for size in shape))), np.float64)
        landed = corners @ columns.T + to_one[:3, 3]
        expected = np.where(flips, sizes - 1 - corners, corners)
        if not np.abs(landed - expected).max() <= _LARGEST_OFFSET_VOXELS:
            return None
    return bool(flips[0]), bool(flips[1]), bool(flips[2])
