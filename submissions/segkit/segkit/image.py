"""Reading a CT in one orientation, and writing labels back in the orientation it came in.

Arrays are in numpy order (z, y, x). Canonical means that x grows to the patient's left, y to the
back and z to the head (LPS, the axes of DICOM), as far as whole axes can be swapped and flipped: an
oblique volume keeps its small angle.
"""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from segkit import nifti
from segkit.errors import ImageError, mend_of_unwritten, unreadable_image
from segkit.log import log

_SMALL_INTEGERS = {sitk.sitkInt8, sitk.sitkUInt8, sitk.sitkInt16}
_NO_NUMBERS = {sitk.sitkComplexFloat32, sitk.sitkComplexFloat64}
_VOXEL_MM = (0.05, 50.0)
_LONGEST_MM = 4000.0


@dataclass(frozen=True)
class Orientation:
    """The axis swaps and flips that bring a stored array to canonical order.

    Attributes:
        order: For each canonical axis (z, y, x), the stored axis that it comes from.
        flipped: For each canonical axis, whether it runs against the stored one.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    @classmethod
    def of(cls, direction: tuple[float, ...]) -> Orientation:
        """The orientation of a 3-D direction matrix, row by row as SimpleITK gives it.

        Columns are stored axes (x, y, z), rows world axes. Pairs are taken greedily from the largest
        cosine on, so that a volume turned by 45 degrees still gets each axis once.
        """
        cosines = np.asarray(direction, dtype=float).reshape(3, 3)
        if not np.isfinite(cosines).all():
            cosines = np.eye(3)
        size = np.abs(cosines)
        source = [0, 0, 0]
        flipped = [False, False, False]
        for _ in range(3):
            world, stored = np.unravel_index(np.argmax(size), size.shape)
            source[world] = int(stored)
            flipped[world] = bool(cosines[world, stored] < 0)
            size[world, :] = -1.0
            size[:, stored] = -1.0
        order_zyx = (2 - source[2], 2 - source[1], 2 - source[0])
        return cls(order=order_zyx, flipped=(flipped[2], flipped[1], flipped[0]))

    def to_canonical(self, array: np.ndarray) -> np.ndarray:
        """A view of a stored array (z, y, x) in canonical order."""
        turned = array.transpose(self.order)
        return turned[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)]

    def to_stored(self, array: np.ndarray) -> np.ndarray:
        """A view of a canonical array in the stored order: the inverse of `to_canonical`."""
        turned = array[tuple(slice(None, None, -1) if flip else slice(None) for flip in self.flipped)]
        return turned.transpose(np.argsort(self.order))


@dataclass(frozen=True)
class CT:
    """A CT in canonical orientation.

    Attributes:
        array: Hounsfield units, int16 or float32, shape (z, y, x), finite everywhere.
        spacing_mm: Voxel size (z, y, x), positive.
        orientation: How the stored array was turned.
        header: An image of one voxel that carries size-free geometry: spacing, origin, direction.
        stored_size: The stored size (x, y[, z]) as SimpleITK gives it.
        nifti_header: The header of a NIfTI file as it was stored; None for any other image.
        more_channels: The voxels of further channels, each as `array`.
    """

    array: np.ndarray
    spacing_mm: tuple[float, float, float]
    orientation: Orientation
    header: sitk.Image
    stored_size: tuple[int, ...]
    nifti_header: nifti.Header | None = None
    more_channels: tuple[np.ndarray, ...] = ()

    def laid_out(
        self, labels: np.ndarray, orientation: Literal["canonical", "stored"]
    ) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
        """The voxels as a model was trained to see them.

        Args:
            labels: Canonical array of the CT's shape.
            orientation: That of the model's training.

        Returns:
            Views of the CT's array and of `labels`, and the spacing (mm) of their axes.
        """
        if orientation == "canonical":
            return self.array, labels, self.spacing_mm
        first, second, third = (self.spacing_mm[axis] for axis in np.argsort(self.orientation.order))
        stored = self.orientation.to_stored
        return stored(self.array), stored(labels), (first, second, third)


def read_ct(path: Path) -> CT:
    """Read a NIfTI image, or any other that SimpleITK reads, as a CT volume.

    A single slice stored as a 2-D image counts as a volume of one slice. Of a series the first volume is
    taken. Values that are not finite become air. A voxel size that no CT has counts as the header's plain
    numbers, and as 1 mm if those are none either; a line on stderr says so.

    Raises:
        ImageError: The file cannot be read as an image, holds no voxel, or no plain numbers.
    """
    # A sheared affine is read as the nearest one that ITK can hold, instead of being refused.
    os.environ.setdefault("ITK_NIFTI_SFORM_PERMISSIVE", "1")
    read = nifti.read_hu(path)
    try:
        return _ct_of_itk(path) if read is None else _ct_of_nifti(path, *read)
    except RuntimeError as error:
        raise unreadable_image(path, str(error)) from error


def read_labels(path: Path) -> np.ndarray:
    """Read a label map.

    Returns:
        Whole numbers of the stored type, shape (z, y, x) in stored order.

    Raises:
        ImageError: The file cannot be read, is torn, or holds values that are no whole numbers.
    """
    read = nifti.read_stored(path)
    try:
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path))) if read is None else read[0]
    except RuntimeError as error:
        raise unreadable_image(path, str(error)) from error
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise ImageError(f"{path}: holds values that are no whole numbers, so it is no label map.")
    return labels[None] if labels.ndim == 2 else labels


def _ct_of_itk(path: Path) -> CT:
    """The CT of a file that is no NIfTI file."""
    nifti.check_whole(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    kind = reader.GetPixelID()
    if reader.GetNumberOfComponents() > 1 or kind in _NO_NUMBERS:
        name = sitk.GetPixelIDValueAsString(kind)
        raise ImageError(f"{path}: cannot be read as an image (it holds {name}). Save Hounsfield units.")
    if math.prod(reader.GetSize()) > nifti.MOST_VOXELS:
        raise ImageError(f"{path}: cannot be read as an image ({reader.GetSize()} voxels). Is it a CT?")
    if kind not in _SMALL_INTEGERS:
        reader.SetOutputPixelType(sitk.sitkFloat32)
    image = reader.Execute()
    while image.GetDimension() > 3:
        image = image[..., 0]
    if image.GetDimension() < 2 or image.GetNumberOfPixels() == 0:
        raise ImageError(f"{path}: an image of size {image.GetSize()} is no CT volume.")
    return from_image(image, name=path.name)


def from_image(image: sitk.Image, *, name: str = "image") -> CT:
    """A `CT` of a scalar 2-D or 3-D image that is already in memory.

    Args:
        image: As SimpleITK gives it.
        name: For the line that says of an implausible voxel size.
    """
    volume = image if image.GetDimension() == 3 else sitk.JoinSeries(image)
    orientation = Orientation.of(volume.GetDirection())
    array = orientation.to_canonical(_finite_hu(sitk.GetArrayViewFromImage(volume)))
    spacing = _plausible_spacing(name, volume.GetSpacing(), volume.GetSize(), (1.0, 1.0, 1.0))
    # A copy: the view above dies with `volume`.
    return CT(
        np.array(array, order="C"),
        _zyx(spacing, orientation),
        orientation,
        _header_of(image),
        image.GetSize(),
    )


def _ct_of_nifti(path: Path, array: np.ndarray, header: nifti.Header) -> CT:
    """The CT of a NIfTI file; its array is a view, nothing is copied."""
    reader = _geometry_of(path, header)
    orientation = Orientation.of(reader.GetDirection())
    size = header.shape[::-1]
    spacing = _plausible_spacing(path.name, reader.GetSpacing(), size, header.plain_spacing)
    return CT(
        orientation.to_canonical(array),
        _zyx(spacing, orientation),
        orientation,
        _header_of(reader),
        size,
        header,
    )


def _geometry_of(path: Path, header: nifti.Header) -> sitk.ImageFileReader:
    """What ITK makes of a header; it gets a plain one where the file's own, or its name, would stop it."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NiftiImageIO")
    if not header.needs_translation:
        reader.SetFileName(str(path))
        with contextlib.suppress(RuntimeError):
            reader.ReadImageInformation()
            return reader
    with tempfile.TemporaryDirectory() as folder:
        translated = Path(folder) / "header.nii"
        translated.write_bytes(header.translated())
        reader.SetFileName(str(translated))
        reader.ReadImageInformation()
    return reader


def _plausible_spacing(
    name: str, spacing: tuple[float, ...], size: tuple[int, ...], plain: tuple[float, ...]
) -> tuple[float, ...]:
    """Voxel sizes (x, y, z) in mm that a CT may have, so that no header asks for a grid of any size."""
    choices = [tuple(map(abs, spacing)), plain, (1.0, 1.0, 1.0)]
    chosen = next((choice for choice in choices if _is_plausible(choice, size)), choices[-1])
    if chosen != choices[0]:
        stated, taken = (" x ".join(f"{one:.4g}" for one in sizes) for sizes in (choices[0], chosen))
        log.warning(f"{name}: voxels of {stated} mm are none of a CT; taken as {taken} mm")
    return chosen


def _is_plausible(spacing: tuple[float, ...], size: tuple[int, ...]) -> bool:
    low, high = _VOXEL_MM
    return all(
        low <= one <= high and one * count <= _LONGEST_MM for one, count in zip(spacing, size, strict=True)
    )


def _zyx(spacing_xyz: tuple[float, ...], orientation: Orientation) -> tuple[float, float, float]:
    first, second, third = (spacing_xyz[2 - axis] for axis in orientation.order)
    return first, second, third


def write_labels(path: Path, labels: np.ndarray, like: CT) -> None:
    """Write a canonical label array as uint8 NIfTI with the exact geometry of the CT it belongs to.

    Args:
        path: Where to; the name ends in .nii.gz.
        labels: uint8, shape of `like.array`.
        like: The CT, whose array may have been dropped meanwhile.

    Raises:
        ImageError: The file cannot be written.
    """
    stored = like.orientation.to_stored(labels)
    if like.nifti_header is not None and path.name.endswith(".nii.gz"):
        try:
            nifti.write_labels(path, stored, like.nifti_header)
        except OSError as error:
            raise _not_written(path) from error
        return
    stored = np.ascontiguousarray(stored)
    if len(like.stored_size) == 2:
        stored = stored[0]
    image = sitk.GetImageFromArray(stored)
    image.SetSpacing(like.header.GetSpacing())
    image.SetOrigin(like.header.GetOrigin())
    image.SetDirection(like.header.GetDirection())
    # Level 1 costs a label map a few per cent in size and saves most of the time of writing.
    try:
        sitk.WriteImage(image, str(path), useCompression=True, compressionLevel=1)
    except RuntimeError as error:
        raise _not_written(path) from error


def _not_written(path: Path) -> ImageError:
    return ImageError(f"{path}: cannot be written. {mend_of_unwritten(path.parent)}")


def _header_of(image: sitk.Image | sitk.ImageFileReader) -> sitk.Image:
    header = sitk.Image([1] * image.GetDimension(), sitk.sitkUInt8)
    header.SetSpacing(image.GetSpacing())
    header.SetOrigin(image.GetOrigin())
    header.SetDirection(image.GetDirection())
    return header


def _finite_hu(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return array.astype(np.int16, copy=False)
    if np.isfinite(array).all() and np.abs(array).max() <= nifti.LIMIT_HU:
        return array.astype(np.float32, copy=False)
    return nifti.finite_hu(array)
