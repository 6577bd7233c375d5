"""How stored numbers become labels: one rule for the gate, the scorer and the command line.

0 to 255, whole           a label
within 0.001 of one       that label: a float's rounding
within half a step of the file's own scaling, if its slope is 0.5 at most
                          that label, with a note: a writer fitted floats into small integers
a slope within 0.0001 of 1, and an offset within 0.001 of 0
                          no scaling
anything else             refused, with the value and the likely cause
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluator.errors import LabelValueError
from evaluator.header import VolumeHeader

Casting = Literal["exact", "truncate", "match"]
"""`exact` is the rule above. `truncate`: as `numpy.uint8(values)` does, which the official FLARE scripts rely
on: 12.9999987 becomes 12, and 257 becomes 1. `match`: a value that is no whole number from 0 to 255 is no
label and becomes background."""

LARGEST_LABEL = 255

_ROUNDING = 1e-3
_COARSEST_SLOPE = 0.5
_SLOPE_OF_ONE = 1e-4
_MOST_FACTORS = 100


class LabelCast:
    """Turns one file's stored numbers into labels, piece by piece.

    Attributes:
        notes: What a reader of the scores should know of the values seen so far.
    """

    def __init__(self, header: VolumeHeader, casting: Casting) -> None:
        self._header = header
        self._casting = casting
        self._is_scaled = header.is_scaled
        self._tolerance = _ROUNDING
        if casting == "exact" and header.is_scaled:
            is_one = abs(header.slope - 1.0) <= _SLOPE_OF_ONE and abs(header.intercept) <= _ROUNDING
            self._is_scaled = not is_one
            if header.dtype.kind in "iu" and abs(header.slope) <= _COARSEST_SLOPE:
                self._tolerance = max(_ROUNDING, 0.5 * abs(header.slope) * (1 + 1e-6))
        self._was_quantised = False

    @property
    def notes(self) -> tuple[str, ...]:
        """Return notes on the values seen so far."""
        if not self._was_quantised:
            return ()
        slope = self._header.slope
        return (
            f"values were stored with a slope of {slope:.4g} and are no whole numbers; each was taken for the"
            " label within half a step",
        )

    def into(self, labels: NDArray[np.uint8], stored: NDArray[Any]) -> None:
        """Write the labels of a piece.

        Args:
            labels: Where to; as long as `stored`.
            stored: Numbers as in the file.

        Raises:
            LabelValueError: A value is no label.
        """
        with np.errstate(invalid="ignore"):
            np.copyto(labels, stored, casting="unsafe")
        if not self._is_scaled and np.array_equal(labels, stored):
            return  # what almost every file holds; the rest below is several times slower
        values = stored
        if self._is_scaled:
            with np.errstate(all="ignore"):
                values = stored.astype(np.float64) * self._header.slope + self._header.intercept
        labels[:] = getattr(self, f"_{self._casting}")(values)

    def _match(self, values: NDArray[Any]) -> NDArray[Any]:
        with np.errstate(invalid="ignore"):
            return np.where(
                (values == np.rint(values)) & (values >= 0) & (values <= LARGEST_LABEL), values, 0
            )

    def _truncate(self, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind == "f":
            # Out-of-range and NaN become 0 modulo 256 there, as on every x86 machine.
            with np.errstate(invalid="ignore"):
                values = np.trunc(np.where(np.abs(values) < 2.0**31, values, 0.0)).astype(np.int64)
        return np.asarray(values % 256)

    def _exact(self, values: NDArray[Any]) -> NDArray[Any]:
        if values.dtype.kind == "f":
            values = self._whole(values)
        low, high = values.min(), values.max()
        if low < 0 or high > LARGEST_LABEL:
            strange = low if low < 0 else high
            shown = str(int(strange)) if abs(float(strange)) < 2.0**53 else f"{float(strange):g}"
            raise LabelValueError(
                f"the label volume holds the label {shown}; labels are 0 to {LARGEST_LABEL}",
                where=self._header.path,
                mend=_cause_beyond(values),
            )
        return values

    def _whole(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return floats rounded, if each is near enough to a whole number."""
        rounded = np.rint(values)
        with np.errstate(invalid="ignore"):
            off = np.abs(values - rounded)
            wrong = ~(off <= self._tolerance)
        if wrong.any():
            value = float(values[np.flatnonzero(wrong)[0]])
            raise LabelValueError(
                f"the label volume holds {value:g}, which is no whole number",
                where=self._header.path,
                mend=_cause_of_fraction(values),
            )
        self._was_quantised = self._was_quantised or bool((off > _ROUNDING).any())
        return np.asarray(rounded)


def _cause_of_fraction(values: NDArray[Any]) -> str:
    """Return what fractions among labels most likely come from, and the mend."""
    finite = values[np.isfinite(values)]
    if len(finite) < len(values):
        return "NaN and infinities come from resampling beyond the volume's edge or from a division by zero"
    nonzero = np.unique(finite[finite != 0])
    smallest = float(np.abs(nonzero).min()) if len(nonzero) else 1.0
    with np.errstate(over="ignore"):  # numbers of any size are tried here
        factors = nonzero / smallest
    if len(nonzero) <= _MOST_FACTORS and smallest > 0.5 and np.abs(factors - np.rint(factors)).max() < 1e-3:
        return (
            f"All values are multiples of {smallest:.4g}: the labels were rescaled, by resampling or by the"
            " writer's slope. Save class numbers as uint8"
        )
    if len(nonzero) > 2 and nonzero[0] >= 0 and nonzero[-1] <= 1:
        return "These look like probabilities. Save class numbers; best as uint8 without scaling"
    return (
        "Labels were interpolated, as resampling with anything but nearest neighbour does, or these are no"
        " class numbers. Save class numbers; best as uint8 without scaling"
    )


def _cause_beyond(values: NDArray[Any]) -> str:
    """Return what whole numbers outside of 0 to 255 most likely come from."""
    distinct = np.unique(values)
    if len(distinct) > _MOST_FACTORS:
        return "So many different values are an image's intensities, not labels: was the wrong array saved?"
    low, high = float(distinct[0]), float(distinct[-1])
    if low < 0:
        return "Background is 0: was 1 subtracted from the labels, or an ignored region left in?"
    step = int(np.gcd.reduce(distinct.astype(np.int64))) if high < 2.0**53 else 1
    if step > 1:
        return f"All values are multiples of {step}: divide by it"
    return "Check how classes were numbered"


def notes_on_labels(
    prediction_voxels: NDArray[np.int64],
    scored: Collection[int],
    reference_voxels: NDArray[np.int64] | None = None,
) -> tuple[str, ...]:
    """Return notes on values that a task does not know, and on those that the prediction lacks.

    Args:
        prediction_voxels: How many voxels carry each of the values 0 to 255.
        scored: The values of the task's table.
        reference_voxels: The same of the reference, if it is known.
    """
    held = {int(value) for value in np.flatnonzero(prediction_voxels)} - {0}
    strange = sorted(held - set(scored))
    if not strange:
        return ()
    notes = [f"holds labels that are not scored: {', '.join(map(str, strange[:10]))}"]
    if held == {LARGEST_LABEL}:
        notes.append("255 is its only label: masks of 0 and 255 are pictures' way; save the class number")
    if reference_voxels is not None:
        missing = [v for v in sorted(scored) if reference_voxels[v] and not prediction_voxels[v]]
        if missing:
            shown = ", ".join(map(str, missing[:10]))
            notes.append(
                f"no voxel of {shown}, which the reference holds: were the classes numbered in another way?"
            )
    return tuple(notes)


def count_values(labels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return how many voxels carry each of the values 0 to 255, in a fixed amount of memory."""
    flat = labels.ravel("K")
    counts = np.zeros(256, np.int64)
    for first in range(0, flat.size, 1 << 20):
        counts += np.bincount(flat[first : first + (1 << 20)], minlength=256)
    return counts
