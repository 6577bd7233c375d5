"""The rules of label fusion, on arrays.

A voxel gets the first of these that has something to say of it:

1. the tumour pseudo label, if the case does not annotate the tumour. It is written over annotated organs
   too: a tumour lies in an organ, and an annotation without tumours calls that place organ;
2. the annotation;
3. the organ pseudo label, of classes that the case does not annotate. Of an annotated class the annotation
   knows every voxel, so that its background wins: the organ pseudo label of that class is removed
   everywhere. So is what the organ model calls tumour; that is the tumour model's business.

Fusion A of the method is this for a case that annotates some classes, fusion B for one that annotates none,
and a case that annotates every class keeps its annotation as it is.

Two things differ from the published scripts (FLARE2023 of zzm3zz, ff6299a), which write any tumour pseudo
label first and remove a fixed list of organs from every organ pseudo label: here a case that annotates the
tumour keeps its own, and what is removed follows from what the case annotates.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from segkit.partial.errors import FusionError
from segkit.partial.values import TUMOUR, voxels_by_value


class Source(IntEnum):
    """Who gave a voxel its label."""

    BACKGROUND = 0
    ANNOTATION = 1
    ORGAN_PSEUDO = 2
    TUMOUR_PSEUDO = 3

    @property
    def title(self) -> str:
        """The name in sidecars."""
        return _TITLES[self]


_TITLES = {
    Source.BACKGROUND: "background",
    Source.ANNOTATION: "annotation",
    Source.ORGAN_PSEUDO: "organ pseudo label",
    Source.TUMOUR_PSEUDO: "tumour pseudo label",
}


@dataclass(frozen=True)
class Tally:
    """What became of one source's labels: voxels by label value.

    Attributes:
        used: Those in the fused labels.
        removed: Those of a class that this source may not label in this case.
        covered: Those under another source's label, which came first.
    """

    used: Mapping[int, int]
    removed: Mapping[int, int]
    covered: Mapping[int, int]


@dataclass(frozen=True)
class FusedLabels:
    """Fused labels and where they came from.

    Attributes:
        labels: uint8, 0 is the background.
        source: uint8 of the same shape, a `Source` for every voxel; BACKGROUND exactly where labels are 0.
        tallies: What became of each source's labels; a source that was not given has none.
    """

    labels: np.ndarray
    source: np.ndarray
    tallies: Mapping[Source, Tally]


def fuse(
    shape: tuple[int, ...],
    annotation: np.ndarray | None,
    annotated: Collection[int],
    organ_pseudo: np.ndarray | None,
    tumour_pseudo: np.ndarray | None,
    *,
    tumour_value: int = TUMOUR,
) -> FusedLabels:
    """Fuse what is known of a case with what models say of it; the module's text holds the rules.

    Args:
        shape: Shape of the result and of every array.
        annotation: The case's labels, of annotated values only; None if it has none.
        annotated: The label values that `annotation` vouches for, their background included.
        organ_pseudo: What an organ model predicts, values 0 to `tumour_value`; None to go without.
        tumour_pseudo: What a tumour model predicts, tumour where it is not 0; None to go without.
        tumour_value: The tumour's label value, above those of all organs.

    Raises:
        FusionError: An array is no integer array of this shape, holds values that it may not hold, or is
            missing although the case annotates something.
    """
    annotated = frozenset(annotated)
    organ_values = frozenset(range(1, tumour_value + 1))
    if strange := annotated - organ_values:
        raise FusionError(
            f"annotated values {sorted(strange)} are no labels; labels are 1 to {tumour_value}."
        )
    if annotation is None and annotated:
        raise FusionError(f"the case annotates {sorted(annotated)}, but there is no annotation.")
    labels = np.zeros(shape, dtype=np.uint8)
    source = np.zeros(shape, dtype=np.uint8)
    offered: dict[Source, dict[int, int]] = {}

    def write(values: np.ndarray, origin: Source) -> None:
        free = (labels == 0) & (values != 0)
        np.copyto(labels, values, where=free)
        source[free] = origin

    if tumour_pseudo is not None:
        tumour = _integers(tumour_pseudo, shape, "the tumour pseudo label") != 0
        tumour = tumour.astype(np.uint8) * np.uint8(tumour_value)
        offered[Source.TUMOUR_PSEUDO] = voxels_by_value(tumour)
        if tumour_value not in annotated:
            write(tumour, Source.TUMOUR_PSEUDO)
        del tumour
    if annotation is not None:
        known = _labels(annotation, shape, "the annotation", annotated)
        offered[Source.ANNOTATION] = voxels_by_value(known)
        write(known, Source.ANNOTATION)
    if organ_pseudo is not None:
        organs = _labels(organ_pseudo, shape, "the organ pseudo label", organ_values)
        offered[Source.ORGAN_PSEUDO] = voxels_by_value(organs)
        kept = np.arange(256, dtype=np.uint8)
        kept[[*annotated, tumour_value]] = 0
        write(kept[organs], Source.ORGAN_PSEUDO)

    forbidden = {
        Source.ANNOTATION: frozenset[int](),
        Source.ORGAN_PSEUDO: annotated | {tumour_value},
        Source.TUMOUR_PSEUDO: annotated & {tumour_value},
    }
    tallies = {
        origin: _tally(counts, voxels_by_value(labels * (source == origin)), forbidden[origin])
        for origin, counts in offered.items()
    }
    return FusedLabels(labels, source, tallies)


def _tally(offered: Mapping[int, int], used: Mapping[int, int], forbidden: Collection[int]) -> Tally:
    rest = {value: count - used.get(value, 0) for value, count in offered.items()}
    return Tally(
        used=used,
        removed={value: count for value, count in rest.items() if count and value in forbidden},
        covered={value: count for value, count in rest.items() if count and value not in forbidden},
    )


def _integers(array: np.ndarray, shape: tuple[int, ...], what: str) -> np.ndarray:
    if array.shape != tuple(shape) or array.dtype.kind not in "bui":
        raise FusionError(
            f"{what} is {array.dtype} {array.shape}; it must hold integers of shape {tuple(shape)}."
        )
    return array


def _labels(array: np.ndarray, shape: tuple[int, ...], what: str, values: Collection[int]) -> np.ndarray:
    """The array as uint8, holding nothing but `values` and 0."""
    array = _integers(array, shape, what)
    if array.size and (array.min() < 0 or array.max() > 255):
        raise FusionError(f"{what} holds values from {array.min()} to {array.max()}, which are no labels.")
    labels = array.astype(np.uint8, copy=False)
    if strange := voxels_by_value(labels).keys() - set(values):
        raise FusionError(f"{what} holds the values {sorted(strange)}; it may hold {sorted(values)}.")
    return labels
