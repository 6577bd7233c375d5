"""Pseudo-label optimisation: labels joined with what a network trained on them predicts.

A label set made by machines breaks thin organs into pieces, and a network that has seen many of them
bridges the gaps. Each organ becomes the union of both; small organs are written last, so that a union
with a large neighbour does not swallow them.

    python -m cascade.train.pseudo LABELS PREDICTED OUT
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from segkit.errors import TrainingDataError
from segkit.files import whole_file
from segkit.log import log
from segkit.nifti import check_whole
from segkit.program import run_program

from cascade.plan import LABELS

# Esophagus, gallbladder, left adrenal gland: where two of these meet, the later one stays.
WRITTEN_LAST = (10, 9, 8)


def merged(labels: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """The union of two label maps, organ by organ.

    Where organs meet, the higher value wins, and those of `WRITTEN_LAST` win over all others.

    Args:
        labels: The labels so far, integers, any shape.
        predicted: A prediction of the same shape.

    Returns:
        uint8 labels, 0 where neither holds an organ. Values that are no organ (a lesion) are dropped.
    """
    result = np.zeros(labels.shape, dtype=np.uint8)
    for value in (*range(1, len(LABELS)), *WRITTEN_LAST):
        result[(labels == value) | (predicted == value)] = value
    return result


def merge_files(labels: Path, predicted: Path, out: Path) -> int:
    """Write the union of two label files with the first one's geometry.

    Returns:
        The number of voxels that became organ.

    Raises:
        TrainingDataError: A file cannot be read, or the sizes differ.
        ImageError: A file is torn.
    """
    for path in (labels, predicted):
        check_whole(path)
    try:
        old, new = sitk.ReadImage(str(labels)), sitk.ReadImage(str(predicted))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise TrainingDataError(f"{labels} or {predicted} cannot be read: {reason}") from error
    if old.GetSize() != new.GetSize():
        raise TrainingDataError(
            f"{predicted} has the size {new.GetSize()} and {labels} {old.GetSize()}; both belong to one CT"
        )
    before = sitk.GetArrayViewFromImage(old)
    after = merged(before, sitk.GetArrayViewFromImage(new))
    image = sitk.GetImageFromArray(after)
    image.CopyInformation(old)
    with whole_file(out) as part:
        sitk.WriteImage(image, str(part), useCompression=True, compressionLevel=1)
    return int(((before == 0) & (after > 0)).sum())


def merge_folders(labels: Path, predicted: Path, out: Path) -> None:
    """Merge every label file with the prediction of the same name; what is there already stays.

    Raises:
        TrainingDataError: There are no labels, or a prediction is missing or does not fit.
    """
    files = sorted(labels.glob("*.nii.gz"))
    if not files:
        raise TrainingDataError(f"{labels} holds no <case>.nii.gz")
    out.mkdir(parents=True, exist_ok=True)
    for path in files:
        if (out / path.name).exists():
            continue
        if not (predicted / path.name).exists():
            raise TrainingDataError(f"{predicted / path.name} is missing; every label needs its prediction")
        added = merge_files(path, predicted / path.name, out / path.name)
        log.info(f"{path.name}: {added} voxels added")


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="labels joined with predictions, organ by organ")
    for name in ("labels", "predicted", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    return run_program(lambda: merge_folders(options.labels, options.predicted, options.out))


if __name__ == "__main__":
    sys.exit(main())
