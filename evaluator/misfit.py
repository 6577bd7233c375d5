"""What sets two grids apart, in words, and what the author of the second can do about it."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from evaluator.header import Placed

Affine = NDArray[np.float64]

LARGEST_SPACING_RATIO = 1e-3
"""Two voxel sizes agree if they are no farther apart than this part of one."""

NO_GEOMETRY = "no geometry was written (identity affine, voxels of 1 mm)"
_REVERSED = "axes in reverse order"
_REORDERED = "axes in another order"
_NO_ORIGIN = "no origin was written (0, 0, 0)"
_AXES = "xyz"


def differences(reference: Placed, other: Placed) -> list[str]:
    """Return what sets two grids apart that both say where they lie, the likeliest cause first."""
    assert reference.affine is not None and other.affine is not None
    findings = []
    shape, stored = tuple(reference.shape), tuple(other.shape)
    has_none = _is_identity(other.affine) and not _is_identity(reference.affine)
    if not has_none:
        findings += _turn(reference.affine, other.affine)
    findings += shape_difference(reference, other)
    findings += spacing_difference(reference, other)
    if stored != shape and sorted(stored) == sorted(shape):
        findings.append(_REVERSED if stored == shape[::-1] else _REORDERED)
    if has_none:
        findings.append(NO_GEOMETRY)
    if not findings:
        findings.append(_shift(reference, other))
        if not other.affine[:3, 3].any():
            findings.append(_NO_ORIGIN)
    return findings


def turned(axes: tuple[int, ...], flips: tuple[bool, ...]) -> str:
    """Return in words how a volume is stored whose axes are swapped or flipped."""
    parts = []
    if axes != (0, 1, 2):
        # Stored axis k lies along the reference's axis whose entry in `axes` is k.
        order = ",".join(_AXES[axes.index(axis)] for axis in range(3))
        parts.append(f"stored with its axes in the order {order}")
    if any(flips):
        flipped = " and ".join(_AXES[axis] for axis in range(3) if flips[axis])
        parts.append(f"stored flipped along {flipped}")
    return "; ".join(parts)


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
            return [turned(axes, flips) + ", but not on the same place"]
        return []
    angle = _angle_degrees(turn)
    return [f"rotated by {angle:.3g} degrees"] if angle > 0.05 else []


def mend_of(findings: list[str]) -> str:
    """Return what the author of a prediction can do about these findings."""
    if _REVERSED in findings:
        return "Arrays from SimpleITK are z, y, x: transpose them for nibabel, and write the image's affine"
    if _REORDERED in findings:
        return "Keep the input's order of axes: x, y, z in nibabel, z, y, x in arrays of SimpleITK"
    if NO_GEOMETRY in findings:
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


def times(shape: tuple[int, int, int]) -> str:
    """Return a shape as it is written: `512x512x300`."""
    return "x".join(map(str, shape))


def shape_difference(reference: Placed, other: Placed) -> list[str]:
    """Return how two shapes differ, if they do."""
    if tuple(reference.shape) == tuple(other.shape):
        return []
    return [f"shape {times(other.shape)} against {times(reference.shape)}"]


def spacing_difference(reference: Placed, other: Placed) -> list[str]:
    """Return how two voxel sizes differ, if they do."""
    agree = all(
        math.isclose(one, two, rel_tol=LARGEST_SPACING_RATIO)
        for one, two in zip(reference.spacing_mm, other.spacing_mm, strict=True)
    )
    if agree:
        return []
    theirs, ours = ("x".join(f"{size:.4g}" for size in volume.spacing_mm) for volume in (other, reference))
    return [f"spacing {theirs} against {ours} mm"]


def _directions(affine: Affine) -> NDArray[np.float64]:
    """Return the unit vectors of the voxel axes, as columns."""
    return np.asarray(affine[:3, :3] / voxel_sizes(affine))


def voxel_sizes(affine: Affine) -> NDArray[np.float64]:
    """Return the voxel sizes that an affine gives."""
    return np.asarray(np.linalg.norm(affine[:3, :3], axis=0))


def _angle_degrees(turn: NDArray[np.float64]) -> float:
    return math.degrees(math.acos(min(1.0, max(-1.0, (float(np.trace(turn)) - 1.0) / 2.0))))
