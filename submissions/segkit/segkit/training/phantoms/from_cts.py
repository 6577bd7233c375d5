"""Make a store of real CTs with labels, for trainings that learn from scans; needs SimpleITK.

python -m segkit.training.phantoms.from_cts STORE DATA --spacing 3 3 3
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.errors import TrainingDataError
from segkit.image import read_ct, read_labels
from segkit.log import log
from segkit.program import run_program
from segkit.resample import grid_shape, linear_taps, resample_image
from segkit.training.data import pairs_of
from segkit.training.phantoms.store import ENDING, write_volume


def store_cts(folder: Path, data: Path, spacing_mm: Sequence[float]) -> None:
    """Bring every training case of a FLARE-layout folder to a grid; cases that are there stay.

    Args:
        folder: The store; made where missing.
        data: Holds imagesTr/<case>_0000.nii.gz and labelsTr/<case>.nii.gz.
        spacing_mm: Voxel size (z, y, x).

    Raises:
        SegkitError: A case cannot be read, or a label is missing or on another grid.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for pair in pairs_of(data):
        path = folder / f"{pair.case}{ENDING}"
        if path.exists():
            continue
        ct = read_ct(pair.image)
        labels = ct.orientation.to_canonical(read_labels(pair.label))
        if labels.shape != ct.array.shape:
            raise TrainingDataError(f"{pair.label} does not lie on its image's grid; resample it")
        shape = grid_shape(ct.array.shape, ct.spacing_mm, spacing_mm)
        sizes = [
            have * size / count for have, size, count in zip(ct.spacing_mm, labels.shape, shape, strict=True)
        ]
        write_volume(
            path,
            resample_image(ct.array, shape),
            labels[np.ix_(*(_nearest(*pair) for pair in zip(labels.shape, shape, strict=True)))],
            (sizes[0], sizes[1], sizes[2]),
            kind="ct",
            facts={"source": data.name},
        )
        log.info(f"{pair.case} stored")


def _nearest(size_in: int, size_out: int) -> np.ndarray:
    lower, upper, weight = linear_taps(size_in, size_out)
    return np.where(weight < 0.5, lower, upper)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("store", type=Path, help="folder; cases that it holds already stay")
    parser.add_argument("data", type=Path, help="folder with imagesTr and labelsTr")
    parser.add_argument("--spacing", type=float, nargs=3, default=(3.0, 3.0, 3.0), metavar=("Z", "Y", "X"))
    options = parser.parse_args(arguments)
    return run_program(lambda: store_cts(options.store, options.data, options.spacing))


if __name__ == "__main__":
    sys.exit(main())
