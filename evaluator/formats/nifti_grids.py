"""Every place that a NIfTI header gives its volume: its forms, and what readers make of them.

    sform        an affine, any        nibabel takes it where its code is set
    qform        a rotation, pixdim    else this
    neither      pixdim alone          nibabel centres the volume, ITK puts voxel 0 at the origin

ITK keeps directions and voxel sizes apart, so it takes the directions of a form and the sizes of pixdim. Of
two forms that differ it takes the sform if its code is 1 (scanner) and its axes are at right angles, else the
qform; told to be permissive it takes the rotation nearest to a sheared sform. Facts from
itkNiftiImageIO.cxx of ITK 5.4 and from nifti1_io.c, checked in the tests against SimpleITK and nibabel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from evaluator.formats.nifti_fields import NiftiFields
from evaluator.header import StatedGrid

Affine = NDArray[np.float64]

_UNIT_MM = {1: 1000.0, 2: 1.0, 3: 0.001}
_SCANNER = 1
_LARGEST_SHEAR = 1e-4
_FORMS_ALIKE = 1e-4
_NIFTI_IO_ROUNDING = 1e-7
_NIBABEL_ROUNDING = 3 * float(np.finfo(np.float32).eps)


def unit_mm(fields: NiftiFields) -> float:
    """Return the length of the header's unit in millimetres; 1 where it names none."""
    return _UNIT_MM.get(fields.units & 7, 1.0)


def stated_grids(fields: NiftiFields, shape: tuple[int, int, int]) -> tuple[StatedGrid, ...]:
    """Return every place that the header states, in millimetres, the plainest reading first.

    The first is the sform where its code is set, else the qform, else a volume centred on the origin.

    Args:
        fields: The header.
        shape: Voxels along x, y, z.
    """
    with np.errstate(all="ignore"):
        return tuple(_distinct(_all_readings(fields, shape)))


def _all_readings(fields: NiftiFields, shape: tuple[int, int, int]) -> list[StatedGrid]:
    unit = unit_mm(fields)
    readings = list(_in_own_unit(fields, shape))
    grids = [StatedGrid(name, _scaled(affine, unit, unit), default) for name, affine, default in readings]
    if unit != 1.0:
        grids += [
            StatedGrid(f"{name} without the unit of the header", affine, default)
            for name, affine, default in readings
        ]
        # Releases of ITK before 5.4 scale the voxel size and leave the origin as it is.
        grids += [
            StatedGrid(f"{name}, its origin without the unit", _scaled(affine, unit, 1.0), False)
            for name, affine, default in readings
            if default
        ]
    return grids


def _in_own_unit(fields: NiftiFields, shape: tuple[int, int, int]) -> Iterator[tuple[str, Affine, bool]]:
    """Yield name, affine in the header's unit, and whether a common reader takes it by default."""
    sizes, signs = pixdim_sizes(fields)
    sform = _sform(fields) if fields.sform_code > 0 else None
    qform = _qform(fields, sizes) if fields.qform_code > 0 else None
    directed: list[tuple[str, Affine, bool]] = []
    if sform is not None:
        yield "the sform", sform, True
        takes_sform = _itk_takes_sform(fields, sform, qform)
        turned = _with_sizes(sform, sizes * signs)
        if turned is not None:
            directed.append(("the sform's directions with pixdim's voxel size", turned, takes_sform))
        if _shear(sform) > _LARGEST_SHEAR:
            for rotation in _nearest_rotations(sform, sizes * signs):
                directed.append(("the rotation nearest to the sheared sform", rotation, True))
    if qform is not None:
        name = "the qform"
        yield name, _qform(fields, sizes, by_nibabel=True), sform is None
        takes_qform = sform is None or not _itk_takes_sform(fields, sform, qform)
        turned = _with_sizes(qform, sizes * signs)
        directed.append((name, qform if turned is None else turned, takes_qform))
    if sform is None and qform is None:
        half = -0.5 * (np.array(shape) - 1) * sizes
        yield "its centre at the origin", _affine(np.diag(sizes), half), False
        mirrored = half * (-1, 1, 1)
        yield "nibabel's default place", _affine(np.diag(sizes * (-1, 1, 1)), mirrored), True
        yield "ITK's default place", _affine(np.diag(sizes * (-1, -1, 1)), np.zeros(3)), True
    yield from directed
    if shape[2] == 1:
        for name, affine, _ in directed:
            for flat in _in_plane(affine):
                yield f"{name}, read as a 2-D image", flat, False


def pixdim_sizes(fields: NiftiFields) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the voxel sizes, 1 where pixdim holds none, and the signs of pixdim's entries."""
    stored = np.array(fields.pixdim[1:4], np.float64)
    is_size = np.isfinite(stored) & (stored != 0)
    if fields.dim[0] < 3:
        is_size[fields.dim[0] :] = False
    return np.where(is_size, np.abs(stored), 1.0), np.where(is_size & (stored < 0), -1.0, 1.0)


def _itk_takes_sform(fields: NiftiFields, sform: Affine, qform: Affine | None) -> bool:
    if _shear(sform) > _LARGEST_SHEAR:
        return False
    if qform is None or fields.sform_code == _SCANNER:
        return True
    return bool(np.abs(sform - qform).max() <= _FORMS_ALIKE)


def _sform(fields: NiftiFields) -> Affine:
    rows = np.array(fields.srow, np.float64).reshape(3, 4)
    return _affine(rows[:, :3], rows[:, 3])


def _qform(fields: NiftiFields, sizes: NDArray[np.float64], *, by_nibabel: bool = False) -> Affine:
    """Return the affine of the header's unit quaternion, as nifti1.h, method 2, defines it.

    Args:
        fields: The header.
        sizes: Voxel sizes.
        by_nibabel: The quaternion's first number is what is left to a length of 1, and rounding matters
            where little is left, as in a rotation by half a turn. nifti1_io.c and nibabel then take it for 0
            at thresholds of their own, and only the first makes the rest a unit.
    """
    b, c, d = fields.quatern[:3]
    square = b * b + c * c + d * d
    rest = 1.0 - square
    if by_nibabel:
        a = math.sqrt(rest) if rest > _NIBABEL_ROUNDING else 0.0
    elif rest < _NIFTI_IO_ROUNDING:
        norm = math.sqrt(square) if math.isfinite(square) else 0.0
        a, b, c, d = (0.0, b / norm, c / norm, d / norm) if norm > 0 else (1.0, 0.0, 0.0, 0.0)
    else:
        a = math.sqrt(rest)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )
    handed = sizes * (1.0, 1.0, -1.0 if fields.pixdim[0] < 0 else 1.0)
    return _affine(rotation * handed, np.array(fields.quatern[3:6], np.float64))


def _nearest_rotations(sform: Affine, sizes: NDArray[np.float64]) -> Iterator[Affine]:
    """Yield the polar factor of a sheared sform with voxel sizes, and its transpose, which ITK 5.4 takes."""
    if not np.isfinite(sform).all() or np.linalg.det(sform[:3, :3]) == 0.0:
        return
    left, _, right = np.linalg.svd(sform[:3, :3])
    for rotation in ((left @ right).T, left @ right):
        yield _affine(rotation * sizes, sform[:3, 3])


def _shear(affine: Affine) -> float:
    """Return the largest cosine between two axes; infinite if an axis has no length."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(lengths).all() or lengths.min() == 0:
        return math.inf
    unit = affine[:3, :3] / lengths
    return float(np.abs(unit.T @ unit - np.eye(3)).max())


def _with_sizes(affine: Affine, sizes: NDArray[np.float64]) -> Affine | None:
    """Return an affine with other voxel sizes along its axes, `None` if an axis has no direction."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(lengths).all() or lengths.min() == 0:
        return None
    return _affine(affine[:3, :3] / lengths * sizes, affine[:3, 3])


def _in_plane(affine: Affine) -> Iterator[Affine]:
    """Yield what is left of a slice's place in a 2-D image, which knows x and y only.

    What is left of an oblique slice may be sheared; ITK keeps that, and writes the nearest rotation.
    """
    lengths = np.linalg.norm(affine[:3, :2], axis=0)
    flat = affine[:2, :2].copy()
    kept = np.linalg.norm(flat, axis=0)
    if not np.isfinite(kept).all() or kept.min() == 0:
        return
    directions = np.eye(3)
    directions[:2, :2] = flat / kept
    left, _, right = np.linalg.svd(directions)
    for axes in (directions, left @ right):
        yield _affine(axes * [*lengths, 1.0], np.array([*affine[:2, 3], 0.0]))


def _affine(axes: NDArray[np.float64], origin: NDArray[np.float64]) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = origin
    return affine


def _scaled(affine: Affine, axes: float, origin: float) -> Affine:
    return _affine(affine[:3, :3] * axes, affine[:3, 3] * origin)


def _distinct(grids: list[StatedGrid]) -> Iterator[StatedGrid]:
    """Yield usable grids, each once; one that several readings share is by default if any of them is."""
    kept: list[StatedGrid] = []
    for grid in grids:
        if not np.isfinite(grid.affine).all() or np.linalg.det(grid.affine[:3, :3]) == 0.0:
            continue
        twin = next((i for i, other in enumerate(kept) if np.array_equal(other.affine, grid.affine)), None)
        if twin is None:
            kept.append(grid)
        elif grid.by_default and not kept[twin].by_default:
            kept[twin] = StatedGrid(kept[twin].reading, grid.affine, True)
    yield from kept
