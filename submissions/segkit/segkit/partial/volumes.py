"""Label files: read with their CT's grid checked, written with that grid and only when whole.

Arrays are numpy arrays (z, y, x) as they lie in the file; nothing is turned, since all files of a case share
one grid.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from segkit import files
from segkit.errors import ImageError, mend_of_unwritten, unreadable_image
from segkit.nifti import check_whole
from segkit.partial.errors import VolumeError
from segkit.partial.values import voxels_by_value as voxels_by_value

CORNER_TOLERANCE = 0.1
"""How far, in the CT's smallest voxel side, the corners of two grids may lie apart. NIfTI holds geometry in
float32, which costs a ten-thousandth of that; an error that matters for labels costs half a voxel or more."""


@dataclass(frozen=True)
class Grid:
    """Where an image's voxels lie, as SimpleITK tells it.

    Attributes:
        size: Voxels (x, y, z).
        spacing_mm: Voxel size (x, y, z).
        origin_mm: Centre of the first voxel, LPS.
        direction: Cosines of the axes, row by row.
    """

    size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[float, ...]

    @classmethod
    def of(cls, image: sitk.Image | sitk.ImageFileReader) -> Grid:
        """The grid of an image, or of a reader that has read an image's header."""
        return cls(image.GetSize(), image.GetSpacing(), image.GetOrigin(), image.GetDirection())

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an array on this grid (z, y, x)."""
        return self.size[::-1]

    def difference(self, other: Grid) -> str | None:
        """In what another grid differs from this one, in words; None where it is the same."""
        if self.size != other.size:
            return f"its size is {other.size}, the CT's {self.size}"
        apart = np.abs(self._corners() - other._corners()).max()
        if apart <= CORNER_TOLERANCE * min(self.spacing_mm):
            return None
        for name in ("spacing_mm", "direction", "origin_mm"):
            mine, theirs = getattr(self, name), getattr(other, name)
            if not np.allclose(mine, theirs, rtol=1e-3, atol=1e-3):
                return (
                    f"its corners lie up to {apart:.3g} mm from the CT's; its {name} is {_short(theirs)}, "
                    f"the CT's {_short(mine)}"
                )
        return f"its corners lie up to {apart:.3g} mm from the CT's"

    def as_dict(self) -> dict[str, list[float]]:
        """The grid as JSON holds it."""
        return {key: list(value) for key, value in asdict(self).items()}

    def _corners(self) -> np.ndarray:
        """World coordinates of the corner voxels' centres, mm."""
        dimensions = len(self.size)
        axes = np.reshape(self.direction, (dimensions, dimensions)) * self.spacing_mm
        corners = np.array(list(itertools.product(*((0, count - 1) for count in self.size))))
        return corners @ axes.T + np.array(self.origin_mm)


def read_grid(path: Path) -> Grid:
    """The grid of an image by its header; no voxel is read.

    Raises:
        VolumeError: The file cannot be read as an image.
    """
    return Grid.of(_reader(path))


def read_labels(path: Path, grid: Grid, values: Collection[int], mend: str) -> np.ndarray:
    """Read a label map that must lie on a CT's grid.

    Whole numbers stored as another type, float included, are taken as what they are. (ITK reads NaN in a
    NIfTI file as 0.)

    Args:
        path: The label file.
        grid: The CT's grid.
        values: The values that may occur, 0 left out.
        mend: What to do where others occur, for the error.

    Returns:
        uint8 (z, y, x).

    Raises:
        VolumeError: The file cannot be read, has another grid, or holds something that is no such label.
    """
    reader = _reader(path)
    try:
        check_whole(path)
    except ImageError as error:
        raise VolumeError(str(error)) from error
    if reader.GetNumberOfComponents() != 1:
        raise VolumeError(f"{path}: {reader.GetNumberOfComponents()} values in each voxel; labels have one.")
    if difference := grid.difference(Grid.of(reader)):
        raise VolumeError(
            f"{path} does not lie on its CT's grid: {difference}. Resample it, or mend its header."
        )
    try:
        stored = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if stored.dtype.kind == "f" and not (stored == np.rint(stored)).all():
        raise VolumeError(
            f"{path}: its values are not whole numbers, so it is no label map. Is it a map of "
            "probabilities, or was it resampled with interpolation?"
        )
    if stored.size and (stored.min() < 0 or stored.max() > 255):
        raise VolumeError(
            f"{path}: values from {stored.min()} to {stored.max()}; labels are {_listed(values)}."
        )
    labels = stored.astype(np.uint8, copy=False)
    counts = voxels_by_value(labels)
    if strange := {value: count for value, count in counts.items() if value not in values}:
        found = ", ".join(f"{value} ({count} voxels)" for value, count in strange.items())
        raise VolumeError(f"{path}: label {found}, where only {_listed(values)} may be; {mend}.")
    return labels


def write_labels(path: Path, labels: np.ndarray, grid: Grid) -> None:
    """Write a label map as compressed uint8 NIfTI.

    Args:
        path: Where to; the name ends in .nii.gz.
        labels: uint8 (z, y, x).
        grid: The CT's grid, which the file gets.

    Raises:
        VolumeError: The file cannot be written.
    """
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(grid.spacing_mm)
    image.SetOrigin(grid.origin_mm)
    image.SetDirection(grid.direction)
    try:
        # Level 1 costs a label map a few per cent in size and saves most of the time of writing.
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    except RuntimeError as error:
        raise VolumeError(f"{path}: cannot be written. {mend_of_unwritten(path.parent)}") from error


@contextmanager
def scratch_folder(beside: Path) -> Iterator[Path]:
    """A folder on the same disk for files that are not whole yet; their rename is then atomic.

    Not part-files beside the finished ones: a reader that takes every *.nii.gz would take those too.
    """
    with tempfile.TemporaryDirectory(prefix=".part-", dir=beside) as folder:
        yield Path(folder)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes.

    Raises:
        VolumeError: The file cannot be read.
    """
    try:
        return files.file_sha256(path)
    except OSError as error:
        raise VolumeError(f"{path}: cannot be read ({error.strerror}).") from error


def _reader(path: Path) -> sitk.ImageFileReader:
    # As segkit reads CTs: a sheared affine becomes the nearest one that ITK can hold, in all files alike.
    os.environ.setdefault("ITK_NIFTI_SFORM_PERMISSIVE", "1")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    return reader


def _unreadable(path: Path, error: Exception) -> VolumeError:
    return VolumeError(str(unreadable_image(path, str(error) or type(error).__name__)))


def _short(numbers: tuple[Any, ...]) -> str:
    return "(" + ", ".join(f"{number:.4g}" for number in numbers) + ")"


def _listed(values: Collection[int]) -> str:
    return ", ".join(map(str, sorted(values))) or "0 alone"
