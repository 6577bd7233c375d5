"""What `score_case` takes besides files: arrays, tensors, and the images of SimpleITK and nibabel.

None of those libraries is imported here: an object is known by the module that its type comes from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import LabelValueError, RequestError
from evaluator.rater_files import CONSENSUS
from evaluator.volume import LabelVolume

_ROUNDING = 1e-3


def as_source(given: Any, *, spacing_mm: Sequence[float] | None, what: str) -> Path | str | LabelVolume:
    """Return a path or a label volume in memory, whatever holds it.

    Args:
        given: A path or `LabelVolume`, which stay what they are; a NumPy array or torch tensor on axes x, y,
            z; or an image of SimpleITK or nibabel, whose place is taken over.
        spacing_mm: Voxel size along x, y, z of arrays and tensors.
        what: `reference` or `prediction`, for errors.

    Raises:
        RequestError: The object is none of these, or an array comes without a spacing.
        LabelValueError: Its values are no whole numbers, or it has other than 3 axes.
    """
    if isinstance(given, (str, Path, LabelVolume)):
        return given
    library = type(given).__module__.partition(".")[0]
    if library == "SimpleITK":
        return _from_itk(given, what)
    if hasattr(given, "dataobj") and hasattr(given, "affine"):
        return _from_nibabel(given, what)
    if library == "torch":
        given = given.detach().cpu().numpy()
    if not isinstance(given, np.ndarray):
        raise RequestError(
            f"what has the type {type(given).__name__} is no label volume",
            where=what,
            mend="Give a path, an array with spacing_mm, or an image of SimpleITK or nibabel",
        )
    if spacing_mm is None:
        raise RequestError(
            "an array has no voxel size",
            where=what,
            mend="Give spacing_mm in millimetres, a number for each axis of the array, in its order "
            "(SimpleITK's arrays are z, y, x, its spacings x, y, z: give the image itself)",
        )
    return _volume(given, spacing_mm, what)


def as_reference(
    given: Any, *, spacing_mm: Sequence[float] | None
) -> Path | str | LabelVolume | dict[str, Path | str | LabelVolume]:
    """Return an annotation, or of several, one for each rater, a dict by the raters' names.

    Args:
        given: What `as_source` takes, or a dict or list of that; in a list, raters are called by their place.
        spacing_mm: See `as_source`.

    Raises:
        RequestError: There is none, or a name is no text that can tell raters apart.
        LabelValueError: See `as_source`.
    """
    if isinstance(given, list | tuple):
        given = {f"rater {place}": one for place, one in enumerate(given, start=1)}
    if not isinstance(given, Mapping):
        return as_source(given, spacing_mm=spacing_mm, what="reference")
    if not given or any(not isinstance(name, str) or name in ("", CONSENSUS) for name in given):
        raise RequestError(
            "the references are not said by rater",
            where="reference",
            mend='Give {"name": reference, ...}; no rater is called "consensus"',
        )
    return {
        name: as_source(one, spacing_mm=spacing_mm, what=f"reference of {name}")
        for name, one in given.items()
    }


def _volume(
    array: NDArray[Any], spacing_mm: Sequence[float], what: str, affine: NDArray[np.float64] | None = None
) -> LabelVolume:
    if len(spacing_mm) != 3:
        raise RequestError(f"spacing_mm has {len(spacing_mm)} numbers, not 3", where=what)
    x, y, z = (float(size) for size in spacing_mm)
    return LabelVolume(_whole(array, what), (x, y, z), affine)


def _whole(array: NDArray[Any], what: str) -> NDArray[Any]:
    """Return floats that are whole numbers as integers; everything else as it is."""
    if array.dtype.kind != "f":
        return array
    rounded = np.rint(array)
    if not bool((np.abs(array - rounded) <= _ROUNDING).all()):
        raise LabelValueError(
            "the label volume holds values that are no whole numbers",
            where=what,
            mend="Give class numbers, not probabilities",
        )
    return np.asarray(rounded.astype(np.int64))


def _from_itk(image: Any, what: str) -> LabelVolume:
    from SimpleITK import GetArrayFromImage

    array = np.asarray(GetArrayFromImage(image)).T  # ITK's arrays are z, y, x
    if array.ndim != 3:
        raise LabelValueError(f"a label volume has 3 axes, this one {array.ndim}", where=what)
    spacing = np.array(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * spacing
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1  # ITK counts to the left and back, this package to the right and front
    return _volume(array, spacing.tolist(), what, affine)


def _from_nibabel(image: Any, what: str) -> LabelVolume:
    array = np.asanyarray(image.dataobj)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise LabelValueError(f"a label volume has 3 axes, this one {array.ndim}", where=what)
    affine = np.asarray(image.affine, np.float64)
    return _volume(array, [float(size) for size in image.header.get_zooms()[:3]], what, affine)
