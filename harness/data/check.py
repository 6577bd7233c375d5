"""Check a data set before anything runs on it: readable headers, label on its image's grid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from evaluator.errors import EvaluatorError
from evaluator.header import VolumeHeader
from evaluator.volume import read_header
from harness.data.dataset import Dataset
from harness.errors import ConfigurationError


def check_dataset(dataset: Dataset, *, progress: Callable[[int, int], None] | None = None) -> None:
    """Read the header of every image and label, and no pixel.

    Raises:
        ConfigurationError: a file is no volume, or a label has another shape than its image.
    """
    for done, case in enumerate(dataset.cases, start=1):
        headers = [_header(path) for path in (case.image, case.label) if path is not None]
        if len(headers) == 2 and headers[0].shape != headers[1].shape:
            image, label = (_times(header.shape) for header in headers)
            raise ConfigurationError(
                f"the label of case {case.id} has shape {label}, its image {image}",
                where=case.label or "",
                mend="Restore the label that belongs to this image, or resample it to the image's grid.",
            )
        if progress is not None:
            progress(done, len(dataset.cases))


def _header(path: Path) -> VolumeHeader:
    try:
        return read_header(path)
    except EvaluatorError as error:
        raise ConfigurationError(
            error.what,
            where=path,
            mend=error.mend or "Replace the file, or take the case out of the data set.",
        ) from error


def _times(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
