"""Reading a CT in one orientation, and writing labels back in the orientation it came in.

Arrays are in numpy order (z, y, x). Canonical means that x grows to the patient's left, y to the
back and z to the head (LPS, the axes of DICOM), as far as whole axes can be swapped and flipped: an
oblique volume keeps its small angle.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from segkit import nifti
from segkit.errors import ImageError

_SMALL_INTEGERS = {sitk.sitkInt8, sitk.sitkUInt8, sitk.sitkInt16}
_FLOAT_HU_LIMIT = 32767.0


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
        nifti_header: The header of a plain NIfTI file as it was stored; None for any other image.
    """

    array: np.ndarray
    spacing_mm: tuple[float, float, float]
    orientation: Orientation
    header: sitk.Image
    stored_size: tuple[int, ...]
    nifti_header: bytes | None = None

    def laid_out(
        self, labels: np.ndarray, orientation: Literal["canonical", "stored"]
    ) -> tuple[np.ndarray, np.ndarray, tuple[float, ...]]:
        """The voxels as a model was trained to see them.

        Args:
            labels: Canonical array of the CT's shape.
            orientation: That of the model's training.

        Returns:
            Views of the CT's array and of `labels`, and the spacing (mm) of their axes.
        """
        if orientation == "canonical":
            return self.array, labels, self.spacing_mm
        spacing_mm = tuple(self.spacing_mm[axis] for axis in np.argsort(self.orientation.order))
        return self.orientation.to_stored(self.array), self.orientation.to_stored(labels), spacing_mm


def read_ct(path: Path) -> CT:
    """Read a NIfTI image as a CT volume.

    A single slice stored as a 2-D image counts as a volume of one slice. Of a series or of several
    components the first is taken. Values that are not finite become air.

    Raises:
        ImageError: The file cannot be read as an image, or holds no voxel.
    """
    # A sheared affine is read as the nearest one that ITK can hold, instead of being refused.
    os.environ.setdefault("ITK_NIFTI_SFORM_PERMISSIVE", "1")
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    try:
        reader.ReadImageInformation()
        plain = nifti.read_plain(path)
        if plain is not None and plain.array.shape == reader.GetSize()[::-1]:
            return _plain_ct(reader, plain)
        nifti.check_whole(path)
        if reader.GetNumberOfComponents() == 1 and reader.GetPixelID() not in _SMALL_INTEGERS:
            reader.SetOutputPixelType(sitk.sitkFloat32)
        image = reader.Execute()
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if image.GetNumberOfComponentsPerPixel() > 1:
        image = sitk.VectorIndexSelectionCast(image, 0, sitk.sitkFloat32)
    while image.GetDimension() > 3:
        image = image[..., 0]
    if image.GetDimension() < 2 or image.GetNumberOfPixels() == 0:
        raise ImageError(f"{path}: an image of size {image.GetSize()} is no CT volume.")
    return from_image(image)


def read_labels(path: Path) -> np.ndarray:
    """Read a label map.

    Returns:
        Whole numbers of the stored type, shape (z, y, x) in stored order.

    Raises:
        ImageError: The file cannot be read, is torn, or holds values that are no whole numbers.
    """
    nifti.check_whole(path)
    try:
        labels = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    except RuntimeError as error:
        raise _unreadable(path, error) from error
    if labels.dtype.kind == "f" and not np.array_equal(labels, np.round(labels)):
        raise ImageError(f"{path}: holds values that are no whole numbers, so it is no label map.")
    return labels[None] if labels.ndim == 2 else labels


def from_image(image: sitk.Image) -> CT:
    """A `CT` of a scalar 2-D or 3-D image that is already in memory."""
    volume = image if image.GetDimension() == 3 else sitk.JoinSeries(image)
    orientation = Orientation.of(volume.GetDirection())
    array = orientation.to_canonical(_finite_hu(sitk.GetArrayViewFromImage(volume)))
    # A copy: the view above dies with `volume`.
    return CT(
        np.array(array, order="C"),
        _spacing_zyx(volume, orientation),
        orientation,
        _header_of(image),
        image.GetSize(),
    )


def _plain_ct(reader: sitk.ImageFileReader, plain: nifti.PlainFile) -> CT:
    """The CT of a plain file; its array is a view, nothing is copied."""
    orientation = Orientation.of(reader.GetDirection())
    array = orientation.to_canonical(plain.array)
    return CT(
        array,
        _spacing_zyx(reader, orientation),
        orientation,
        _header_of(reader),
        reader.GetSize(),
        plain.header,
    )


def _spacing_zyx(
    volume: sitk.Image | sitk.ImageFileReader, orientation: Orientation
) -> tuple[float, float, float]:
    spacing_xyz = [
        value if np.isfinite(value) and value > 0 else 1.0 for value in map(abs, volume.GetSpacing())
    ]
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


def _unreadable(path: Path, error: RuntimeError) -> ImageError:
    reason = str(error).strip().splitlines()[-1]
    return ImageError(f"{path}: cannot be read as an image ({reason}). Is it a whole .nii.gz file?")


def _not_written(path: Path) -> ImageError:
    return ImageError(f"{path}: cannot be written. Is the folder there and writable, the disk full?")


def _header_of(image: sitk.Image | sitk.ImageFileReader) -> sitk.Image:
    header = sitk.Image([1] * image.GetDimension(), sitk.sitkUInt8)
    header.SetSpacing(image.GetSpacing())
    header.SetOrigin(image.GetOrigin())
    header.SetDirection(image.GetDirection())
    return header


def _finite_hu(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind != "f":
        return array.astype(np.int16, copy=False)
    if np.isfinite(array).all() and np.abs(array).max() <= _FLOAT_HU_LIMIT:
        return array.astype(np.float32, copy=False)
    cleaned = np.nan_to_num(array, nan=-1024.0, posinf=_FLOAT_HU_LIMIT, neginf=-1024.0)
    return np.clip(cleaned, -_FLOAT_HU_LIMIT, _FLOAT_HU_LIMIT).astype(np.float32)
