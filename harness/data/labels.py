"""The labels of a data set before a challenge names them: those its dataset.json states, or those it holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.label_files import DEFAULT_TOLERANCE_MM, label_table_from_file
from evaluator.labels import Label
from evaluator.volume import read_label_volume
from harness.data.dataset import Dataset
from harness.data.description import states_labels
from harness.errors import ConfigurationError


@dataclass(frozen=True)
class KnownLabels:
    """What is known of a data set's labels.

    Attributes:
        labels: Each with a tolerance that somebody has yet to set.
        source: The file, or the folder of label maps, that they come from.
        named: Whether the source names them; else their names are made of their values.
    """

    labels: tuple[Label, ...]
    source: Path
    named: bool


def known_labels(dataset: Dataset, progress: Callable[[int, int], None] | None = None) -> KnownLabels:
    """Return a data set's labels; without a dataset.json that states any, every label map is read.

    Raises:
        ConfigurationError: neither the file nor any label map has one.
        EvaluatorError: the file states them in a way that is not understood, or a label map cannot be read.
    """
    description = dataset.folder / "dataset.json"
    if states_labels(dataset.folder):
        return KnownLabels(label_table_from_file(description).labels, description, named=True)
    paths = [path for case in dataset.cases for path in case.labels]
    values: set[int] = set()
    for done, path in enumerate(paths, start=1):
        values.update(int(value) for value in np.unique(read_label_volume(path).array))
        if progress is not None:
            progress(done, len(paths))
    labels = tuple(Label(value, f"label_{value}", DEFAULT_TOLERANCE_MM) for value in sorted(values - {0}))
    if not labels:
        raise ConfigurationError(
            "the data set has no labels" if not paths else "every label map holds background alone",
            where=dataset.folder,
            mend='Add labelsVal/<case>.nii.gz, or name them in dataset.json: "labels": {"liver": 1}.',
        )
    return KnownLabels(labels, paths[0].parent, named=False)
