"""Write a data set again with one clean header a file: every reader then finds each volume at one place."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from evaluator.clean import clean_affine, write_clean
from evaluator.errors import EvaluatorError
from evaluator.geometry import compare_geometry
from evaluator.header import VolumeHeader
from evaluator.volume import read_header
from harness.data.dataset import Case, Dataset
from harness.errors import ConfigurationError

_IMAGES, _LABELS, _DESCRIPTION = "imagesVal", "labelsVal", "dataset.json"


def repair_dataset(
    dataset: Dataset, target: Path, *, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write copies of every image and label, voxels untouched, in the layout that every command opens.

    A label that lies on its image's grid, by any of the places that the image's header states, or that nobody
    gave a place, gets its image's.

    Args:
        dataset: The data set.
        target: A new or empty folder.
        progress: Told after each case.

    Raises:
        ConfigurationError: The folder is not empty, a file cannot be read, or a label lies on another grid.
    """
    if target.exists() and any(target.iterdir()):
        raise ConfigurationError(
            "the folder for the repaired copies is not empty", where=target, mend="Name a new one."
        )
    for folder in (_IMAGES, _LABELS):
        (target / folder).mkdir(parents=True, exist_ok=True)
    for done, case in enumerate(dataset.cases, start=1):
        try:
            _repair_case(case, target)
        except EvaluatorError as error:
            raise ConfigurationError(error.what, where=error.where, mend=error.mend) from error
        if progress is not None:
            progress(done, len(dataset.cases))
    description = dataset.folder / _DESCRIPTION
    if description.is_file():
        shutil.copyfile(description, target / _DESCRIPTION)


def _repair_case(case: Case, target: Path) -> None:
    first = read_header(case.channels[0]) if case.channels else None
    for number, path in enumerate(case.channels):
        affine = clean_affine(first) if first is not None and _is_on(first, read_header(path)) else None
        write_clean(path, target / _IMAGES / f"{case.id}_{number:04d}.nii.gz", affine=affine)
    named = [(f"{case.id}/{rater}", path) for rater, path in case.raters]
    for name, label in named or [(case.id, path) for path in case.labels]:
        _repair_label(case, label, first, target / _LABELS / f"{name}.nii.gz")


def _repair_label(case: Case, label: Path, first: VolumeHeader | None, target: Path) -> None:
    affine = None
    if first is not None:
        header = read_header(label)
        diagnosis = compare_geometry(first, header)
        is_bare = diagnosis.lacks_geometry and header.shape == first.shape
        if diagnosis.kind == "different" and not is_bare:
            raise ConfigurationError(
                f"the label of case {case.id} is not on its image's grid: {diagnosis.text}",
                where=label,
                mend="A header cannot mend that: resample it to the image's grid, nearest neighbour.",
            )
        if diagnosis.kind != "reorientable":
            affine = clean_affine(first)
    target.parent.mkdir(exist_ok=True)
    write_clean(label, target, affine=affine)


def _is_on(first: VolumeHeader, other: VolumeHeader) -> bool:
    return compare_geometry(first, other).kind == "same"
