"""Skeletons of tubes: how much of each runs inside the other mask. Needs scikit-image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator.components import paint
from evaluator.errors import RequestError
from evaluator.masks import corner_extent


@dataclass(frozen=True)
class Skeletons:
    """How much of each volume's skeleton lies inside the other volume's mask.

    Attributes:
        reference_share: Of the reference's skeleton, inside the prediction; NaN if there is no skeleton.
        prediction_share: Of the prediction's skeleton, inside the reference; the same.
    """

    reference_share: float
    prediction_share: float


def compare_skeletons(reference_runs: NDArray[np.uint64], prediction_runs: NDArray[np.uint64]) -> Skeletons:
    """Return the shares of the skeletons, thinned as Lee does it on axes x, y, z.

    Args:
        reference_runs: The label's runs in the reference, packed; at least one.
        prediction_runs: The same of the prediction.

    Raises:
        RequestError: scikit-image is not installed.
    """
    try:
        from skimage.morphology import skeletonize
    except ImportError:
        raise RequestError(
            "clDice needs scikit-image", mend="Install it: pip install 'flareharness[topology]'"
        ) from None
    thin: Any = skeletonize
    extents = np.stack([corner_extent(reference_runs), corner_extent(prediction_runs)])
    low, high = extents[:, ::2].min(axis=0), extents[:, 1::2].max(axis=0)
    shape = (int(high[0] - low[0]), int(high[1] - low[1]), int(high[2] - low[2]))
    reference, prediction = (paint(runs, low, shape).T for runs in (reference_runs, prediction_runs))

    def share(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
        skeleton = np.asarray(thin(np.ascontiguousarray(one)), np.bool_)
        voxels = np.count_nonzero(skeleton)
        return float(np.count_nonzero(skeleton & other) / voxels) if voxels else float("nan")

    return Skeletons(share(reference, prediction), share(prediction, reference))
