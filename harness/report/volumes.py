"""Read the volumes of one case, turned so that all axes run the same way."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.orientations import apply_orientation, io_orientation

from evaluator.consensus import label_map
from evaluator.errors import EvaluatorError
from evaluator.volume import read_label_volume
from harness.challenge.model import LARGEST_VALUE

Volume = npt.NDArray[np.integer | np.floating]
Labels = npt.NDArray[np.uint8]
Spacing = tuple[float, float, float]
Box = tuple[slice, slice, slice]


@dataclass(frozen=True, eq=False)
class CaseVolumes:
    """An image and its reference, axes to the right, to the front and up.

    Attributes:
        image: Intensities, (x, y, z).
        reference: Labels, (x, y, z), of what the case annotates; all else is 0.
        spacing_mm: Voxel sizes along x, y, z.
    """

    image: Volume
    reference: Labels
    spacing_mm: Spacing


def read_case(image: Path, references: Sequence[Path], annotated: Collection[int]) -> CaseVolumes | None:
    """Read an image and its reference; None where one cannot be read or they do not fit together.

    Args:
        image: The image.
        references: Its reference; of those of several raters the consensus is taken.
        annotated: The label values that are kept.
    """
    raters = [read for path in references if (read := read_labels(path, annotated)) is not None]
    if len(raters) < len(references) or len({one.shape for one, _ in raters}) != 1:
        return None
    labels = raters[0] if len(raters) == 1 else (label_map([one for one, _ in raters]), raters[0][1])
    try:
        turned = nib.as_closest_canonical(nib.load(image))  # type: ignore[no-untyped-call]
        values = np.asanyarray(turned.dataobj)
    except (OSError, ValueError, EOFError, nib.filebasedimages.ImageFileError):
        return None
    return CaseVolumes(values, *labels) if values.shape == labels[0].shape else None


def labelled_box(volumes: Sequence[Labels]) -> Box:
    """Return the smallest box that holds every label of volumes on one grid; all of it if there is none."""
    held = volumes[0] != 0
    for labels in volumes[1:]:
        held |= labels != 0
    bounds = []
    for axis in range(3):
        inside = np.flatnonzero(held.any(axis=tuple(other for other in range(3) if other != axis)))
        bounds.append(
            slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, held.shape[axis])
        )
    return bounds[0], bounds[1], bounds[2]


def read_labels(path: Path, annotated: Collection[int]) -> tuple[Labels, Spacing] | None:
    """Read a label volume; None where it cannot be read.

    Args:
        path: The file.
        annotated: The label values that are kept; others become background.

    Returns:
        The labels, axes to the right, to the front and up, and the voxel sizes along them in mm.
    """
    try:
        volume = read_label_volume(path)
    except (EvaluatorError, OSError):
        return None
    kept = np.zeros(256, dtype=np.uint8)
    values = [value for value in annotated if value <= LARGEST_VALUE]  # a region is no value of a voxel
    kept[values] = values
    array = kept[volume.array]
    if volume.affine is None:
        return array, volume.spacing_mm
    orientation = io_orientation(volume.affine)  # type: ignore[no-untyped-call]
    spacing = [0.0, 0.0, 0.0]
    for axis, (target, _) in enumerate(orientation):
        spacing[int(target)] = volume.spacing_mm[axis]
    turned = apply_orientation(array, orientation)  # type: ignore[no-untyped-call]
    return turned, (spacing[0], spacing[1], spacing[2])
