"""Do two volumes lie on the same grid? And if not, what happened?"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

_LARGEST_OFFSET_VOXELS = 0.1
_LARGEST_SPACING_RATIO = 1e-3
_AXES = "xyz"
_AXIS_ORDERS = ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))


class Placed(Protocol):
    """What has a shape and a place: a `VolumeHeader` or a `LabelVolume`."""

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
    """

    kind: Literal["same", "reorientable", "different"]
    text: str
    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    def reorient(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return the other volume's array on the first one's grid, x fastest in memory."""
        turned = np.transpose(array, self.axes)
        turned = turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flips)]
        return np.asfortranarray(turned)


def compare_geometry(reference: Placed, other: Placed) -> GeometryDiagnosis:
    """Say how the grid of `other` relates to the grid of `reference`.

    Two grids are the same if no corner voxel is off by more than a tenth of a voxel and the spacings agree
    to a part in a thousand. Where one file does not say where it lies, shape and spacing decide.
    """
    if reference.affine is None or other.affine is None:
        return _by_shape_and_spacing(reference, other, "")
    if not (reference.has_orientation and other.has_orientation):
        which = "the reference" if other.has_orientation else "the prediction"
        return _by_shape_and_spacing(reference, other, f"{which} does not say where it lies")
    for axes in _AXIS_ORDERS:
        flips = _flips_if_same_grid(reference, other, axes)
        if flips is None:
            continue
        if axes == (0, 1, 2) and not any(flips):
            return GeometryDiagnosis("same", "same grid")
        return GeometryDiagnosis("reorientable", _turned(axes, flips), axes, flips)
    return GeometryDiagnosis("different", "; ".join(_differences(reference, other)))


def _by_shape_and_spacing(reference: Placed, other: Placed, remark: str) -> GeometryDiagnosis:
    findings = [*_shape_difference(reference, other), *_spacing_difference(reference, other)]
    if findings:
        return GeometryDiagnosis("different", "; ".join(findings))
    return GeometryDiagnosis("same", remark or "same grid")


def _flips_if_same_grid(
    reference: Placed, other: Placed, axes: tuple[int, ...]
) -> tuple[bool, bool, bool] | None:
    """Return which axes run the other way if `other`, axes reordered, is `reference`'s grid; else None."""
    assert reference.affine is not None and other.affine is not None
    shape = np.array(reference.shape)
    if tuple(other.shape[axis] for axis in axes) != tuple(shape):
        return None
    spacing = [other.spacing_mm[axis] for axis in axes]
    if not _spacings_agree(reference.spacing_mm, (spacing[0], spacing[1], spacing[2])):
        return None
    other_affine = other.affine[:, [*axes, 3]]
    to_reference = np.linalg.solve(reference.affine, other_affine)
    flips = np.diag(to_reference)[:3] < 0
    corners = np.array(list(itertools.product(*((0, size - 1) for size in shape))), np.float64)
    landed = corners @ to_reference[:3, :3].T + to_reference[:3, 3]
    expected = np.where(flips, shape - 1 - corners, corners)
    # A one-voxel axis has no corners to tell its direction: its column must agree as well.
    direction = to_reference[:3, :3] - np.diag(np.where(flips, -1.0, 1.0))
    if np.abs(landed - expected).max() > _LARGEST_OFFSET_VOXELS or np.abs(direction).max() > 0.1:
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


def _differences(reference: Placed, other: Placed) -> list[str]:
    """Return what sets two grids apart, the likeliest cause first."""
    assert reference.affine is not None and other.affine is not None
    findings = []
    directions = [_directions(volume.affine) for volume in (reference, other) if volume.affine is not None]
    turn = directions[0].T @ directions[1]
    axes = tuple(int(axis) for axis in np.argmax(np.abs(turn), axis=1))
    is_axis_aligned = sorted(axes) == [0, 1, 2] and np.abs(turn).max(axis=1).min() > 0.99
    negated = _negated_world_axes(reference.affine, other.affine)
    if negated:
        findings.append(
            f"world {negated} negated, as when a file of one convention (LPS, RAS) is written as the other"
        )
    elif is_axis_aligned:
        flips = tuple(bool(turn[axis, axes[axis]] < 0) for axis in range(3))
        if axes != (0, 1, 2) or any(flips):
            findings.append(_turned(axes, flips) + ", but not on the same place")
    elif _angle_degrees(turn) > 0.05:
        findings.append(f"rotated by {_angle_degrees(turn):.3g} degrees")
    findings += _shape_difference(reference, other)
    findings += _spacing_difference(reference, other)
    if not findings:
        findings.append(_shift(reference, other))
    return findings


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


def _negated_world_axes(reference: NDArray[np.float64], other: NDArray[np.float64]) -> str:
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


def _shape_difference(reference: Placed, other: Placed) -> list[str]:
    if tuple(reference.shape) == tuple(other.shape):
        return []
    return [f"shape {'x'.join(map(str, other.shape))} against {'x'.join(map(str, reference.shape))}"]


def _spacing_difference(reference: Placed, other: Placed) -> list[str]:
    if _spacings_agree(reference.spacing_mm, other.spacing_mm):
        return []
    theirs, ours = ("x".join(f"{size:.4g}" for size in volume.spacing_mm) for volume in (other, reference))
    return [f"spacing {theirs} against {ours} mm"]


def _spacings_agree(first: tuple[float, float, float], second: tuple[float, float, float]) -> bool:
    return all(
        math.isclose(one, two, rel_tol=_LARGEST_SPACING_RATIO) for one, two in zip(first, second, strict=True)
    )


def _directions(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit vectors of the voxel axes, as columns."""
    columns = affine[:3, :3]
    return np.asarray(columns / np.linalg.norm(columns, axis=0))


def _angle_degrees(turn: NDArray[np.float64]) -> float:
    return math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(turn)) - 1.0) / 2.0))))
