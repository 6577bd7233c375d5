"""Boundary IoU: intersection over union of the two layers of border voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import SHARE, Metric

if TYPE_CHECKING:
    from evaluator.needs import Borders


def boundary_iou(borders: Borders) -> float:
    """Return the IoU of the voxels with one of 6 neighbours outside, as MetricsReloaded with a width of 1.

    Spacing does not matter. (Cheng et al., CVPR 2021; there in the plane.)
    """
    both = borders.reference_voxels + borders.prediction_voxels
    return borders.shared_voxels / (both - borders.shared_voxels)


METRIC = Metric(
    facts=MetricFacts(key="boundary_iou", title="Boundary IoU", direction="higher", failed=0.0, percent=True),
    needs=("borders",),
    compute=boundary_iou,
    empty=SHARE,
)
