"""Intersection over union, the Jaccard index: common voxels over the voxels of either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import SHARE, Metric

if TYPE_CHECKING:
    from evaluator.needs import Counts


def iou(counts: Counts) -> float:
    """Return |A and B| / |A or B|."""
    both = counts.scored_reference_voxels + counts.scored_prediction_voxels
    return counts.overlap_voxels / (both - counts.overlap_voxels)


METRIC = Metric(
    facts=MetricFacts(
        key="iou", title="IoU", direction="higher", failed=0.0, percent=True, aliases=("jaccard",)
    ),
    needs=("counts",),
    compute=iou,
    empty=SHARE,
)
