"""Do two volumes lie on the same grid? And if not, what happened?

A header may state several places: a sform and a qform that differ, a unit that readers forget, voxel sizes
that are not the affine's. A prediction on any of the places that its image's or its reference's header states
is voxel by voxel theirs, whichever its author's reader took. Only where none fits may it have been stored
with its axes flipped or swapped, which is then undone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from evaluator.header import StatedGrid

Affine = NDArray[np.float64]

_LARGEST_OFFSET_VOXELS = 0.1
_LARGEST_SPACING_RATIO = 1e-3
_AXES = "xyz"
_AXIS_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
_NO_GEOMETRY = "no geometry was written (identity affine, voxels of 1 mm)"
_REVERSED = "axes in reverse order"
_REORDERED = "axes in another order"
_NO_ORIGIN = "no origin was written (0, 0, 0)"


class Placed(Protocol):
    """What has a shape and a place: a `VolumeHeader` or a `LabelVolume`.

    It may also have `grids`, every place that its header states; without them the affine is the only one.
    """

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along x, y, z."""

    @property
    def affine(self) -> NDArray[np.float64] | None:
        """Voxel index to millimetres, RAS+, or `None`."""

    @property
    def has_orientation(self) -> bool:
        """Whether the affine is more than a guess."""


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
        return self.kind == "different" and _NO_GEOMETRY in self.text

    def reorient(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the other volume's array on the first one's grid, x fastest in memory."""
        if self.shape is not None:
            array = array.reshape(self.shape, order="F")
        if self.kind == "same":
            return array
        turned = np.transpose(array, self.axes)
        turned = turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]
        return np.asfortranarray(turned)


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
                return GeometryDiagnosis("reorientable", _turned(axes, flips), axes, flips)
    return _different(reference, other)


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
                text = f"stored as {_times(other.shape)} for {_times(reference.shape)}"
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
    findings = _shape_difference(reference, other)
    stated = [reference.spacing_mm, *(_lengths(grid.affine) for grid in stated_grids(reference))]
    long = np.array(reference.shape) > 1
    with np.errstate(all="ignore"):
        off = [np.abs(np.array(other.spacing_mm) / sizes - 1.0)[long].max(initial=0.0) for sizes in stated]
    if not any(ratio <= _LARGEST_SPACING_RATIO for ratio in off):
        findings += _spacing_difference(reference, other)
        if not other.has_orientation and other.spacing_mm == (1.0, 1.0, 1.0):
            findings.append(_NO_GEOMETRY)
    if findings:
        return GeometryDiagnosis("different", "; ".join(findings), mend=_mend(findings))
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
        ratios = _lengths(other) / _lengths(one)
        if not np.abs(ratios[long] - 1.0).max(initial=0.0) <= _LARGEST_SPACING_RATIO:
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


def _turned(axes: tuple[int, ...], flips: tuple[bool, ...]) -> str:
    parts = []
    if axes != (0, 1, 2):
        # Stored axis k lies along the reference's axis whose entry in `axes` is k.
        order = ",".join(_AXES[axes.index(axis)] for axis in range(3))
        parts.append(f"stored with its axes in the order {order}")
    if any(flips):
        flipped = " and ".join(_AXES[axis] for axis in range(3) if flips[axis])
        parts.append(f"stored flipped along {flipped}")
    return "; ".join(parts)


def _different(reference: Placed, other: Placed) -> GeometryDiagnosis:
    """Say what sets two grids apart, the likeliest cause first, and the mend."""
    assert reference.affine is not None and other.affine is not None
    findings = []
    shape, stored = tuple(reference.shape), tuple(other.shape)
    has_none = _is_identity(other.affine) and not _is_identity(reference.affine)
    if not has_none:
        findings += _turn(reference.affine, other.affine)
    findings += _shape_difference(reference, other)
    findings += _spacing_difference(reference, other)
    if stored != shape and sorted(stored) == sorted(shape):
        findings.append(_REVERSED if stored == shape[::-1] else _REORDERED)
    if has_none:
        findings.append(_NO_GEOMETRY)
    if not findings:
        findings.append(_shift(reference, other))
        if not other.affine[:3, 3].any():
            findings.append(_NO_ORIGIN)
    return GeometryDiagnosis("different", "; ".join(findings), mend=_mend(findings))


def _turn(reference: Affine, other: Affine) -> list[str]:
    """Return how the directions of two affines differ, if they do."""
    turn = _directions(reference).T @ _directions(other)
    axes = tuple(int(axis) for axis in np.argmax(np.abs(turn), axis=1))
    is_axis_aligned = sorted(axes) == [0, 1, 2] and np.abs(turn).max(axis=1).min() > 0.99
    if negated := _negated_world_axes(reference, other):
        return [
            f"world {negated} negated, as when a file of one convention (LPS, RAS) is written as the other"
        ]
    if is_axis_aligned:
        flips = tuple(bool(turn[axis, axes[axis]] < 0) for axis in range(3))
        if axes != (0, 1, 2) or any(flips):
            return [_turned(axes, flips) + ", but not on the same place"]
        return []
    angle = _angle_degrees(turn)
    return [f"rotated by {angle:.3g} degrees"] if angle > 0.05 else []


def _mend(findings: list[str]) -> str:
    """Return what the author of a prediction can do about these findings."""
    if _REVERSED in findings:
        return "Arrays from SimpleITK are z, y, x: transpose them for nibabel, and write the image's affine"
    if _REORDERED in findings:
        return "Keep the input's order of axes: x, y, z in nibabel, z, y, x in arrays of SimpleITK"
    if _NO_GEOMETRY in findings:
        return "Copy it from the input: CopyInformation(image) in SimpleITK, image.affine in nibabel"
    if any(finding.startswith("world") for finding in findings):
        return "SimpleITK's directions are LPS and nibabel's affines RAS: negate x and y between them"
    if any(finding.startswith("shape") for finding in findings):
        return "Resample the prediction to the input's grid, nearest neighbour"
    return "Write the input's own geometry: CopyInformation(image) in SimpleITK, image.affine in nibabel"


def _is_identity(affine: Affine) -> bool:
    """Whether an affine is what a file has that nobody gave a place: ones, signs apart, at the origin."""
    return bool(np.allclose(np.abs(affine), np.eye(4), atol=1e-6))


def _shift(reference: Placed, other: Placed) -> str:
    """Return how far the centre of `other` lies from that of `reference`, and where to."""
    assert reference.affine is not None and other.affine is not None
    centre = np.array([*((size - 1) / 2 for size in reference.shape), 1.0])
    shift = ((other.affine - reference.affine) @ centre)[:3].tolist()
    distance = math.hypot(*shift)
    if distance < 0.01 * min(reference.spacing_mm):
        return "the axes point in slightly different directions"
    sides = (("left", "right"), ("posterior", "anterior"), ("inferior", "superior"))
    along = ", ".join(
        f"{abs(amount):.4g} mm {side[amount > 0]}"
        for amount, side in zip(shift, sides, strict=True)
        if abs(amount) > 0.01 * distance
    )
    return f"shifted by {distance:.4g} mm ({along})"


def _negated_world_axes(reference: Affine, other: Affine) -> str:
    """Return "x and y" and the like if the affines differ only by the sign of world axes, and visibly."""
    for count in (2, 1, 3):
        for chosen in itertools.combinations(range(3), count):
            signs = np.ones(4)
            signs[list(chosen)] = -1
            if np.allclose(signs[:, None] * other, reference, atol=1e-2, rtol=1e-4) and not np.allclose(
                other, reference, atol=1e-2, rtol=1e-4
            ):
                return " and ".join(_AXES[axis] for axis in chosen)
    return ""


def _times(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))


def _shape_difference(reference: Placed, other: Placed) -> list[str]:
    if tuple(reference.shape) == tuple(other.shape):
        return []
    return [f"shape {_times(other.shape)} against {_times(reference.shape)}"]


def _spacing_difference(reference: Placed, other: Placed) -> list[str]:
    agree = all(
        math.isclose(one, two, rel_tol=_LARGEST_SPACING_RATIO)
        for one, two in zip(reference.spacing_mm, other.spacing_mm, strict=True)
    )
    if agree:
        return []
    theirs, ours = ("x".join(f"{size:.4g}" for size in volume.spacing_mm) for volume in (other, reference))
    return [f"spacing {theirs} against {ours} mm"]


def _directions(affine: Affine) -> NDArray[np.float64]:
    """Return the unit vectors of the voxel axes, as columns."""
    return np.asarray(affine[:3, :3] / _lengths(affine))


def _lengths(affine: Affine) -> NDArray[np.float64]:
    """Return the voxel sizes that an affine gives."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def _angle_degrees(turn: NDArray[np.float64]) -> float:
    return math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(turn)) - 1.0) / 2.0))))
