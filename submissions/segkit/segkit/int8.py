"""A network in 8-bit integers by NNCF: a candidate beside its float form, until Dice has been compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from segkit.forms import FLOAT_IR, INT8_IR

MOST_DICE_LOSS = 0.002
_CANDIDATE = "candidate-"


def write_candidate(folder: Path, tiles: Sequence[np.ndarray]) -> Path:
    """Quantise the IR of a folder; the 8-bit form lies beside it under another name until it is settled.

    Args:
        folder: Holds OpenVINO's form of one network.
        tiles: Inputs (1, channel, ...) that set the ranges of activations.
    """
    import nncf
    import openvino

    quantised = nncf.quantize(
        openvino.Core().read_model(folder / FLOAT_IR),
        nncf.Dataset(list(tiles)),
        subset_size=len(tiles),
        preset=nncf.QuantizationPreset.MIXED,
    )
    candidate = candidate_of(folder)
    openvino.save_model(quantised, candidate)
    return candidate


def candidate_of(folder: Path) -> Path:
    """Where the 8-bit form of a folder's network lies until it has been compared."""
    return folder / f"{_CANDIDATE}{INT8_IR}"


def settle_candidate(folder: Path, *, kept: bool) -> None:
    """Give the 8-bit form its name, or remove it."""
    candidate = candidate_of(folder)
    for part in (candidate, candidate.with_suffix(".bin")):
        if kept:
            part.replace(folder / part.name.removeprefix(_CANDIDATE))
        else:
            part.unlink()


def dice_per_label(labels: np.ndarray, reference: np.ndarray) -> list[float]:
    """Dice of every label that the reference holds."""
    return [dice(labels == label, reference == label) for label in np.unique(reference[reference > 0])]


def dice(here: np.ndarray, there: np.ndarray) -> float:
    """Dice of two masks that are not both empty."""
    return 2 * float((here & there).sum()) / float(here.sum() + there.sum())
