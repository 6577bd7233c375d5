"""Hausdorff distance, and any percentile of it: `hd`, `hd95`, `hd90`, `hd99.5`."""

from __future__ import annotations

import math
import re
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import DISTANCE, Metric

if TYPE_CHECKING:
    from evaluator.distances import SurfaceDistances
    from evaluator.profiles import Profile

_NAME = re.compile(r"hd(\d{1,2}(?:\.\d+)?)")


def hausdorff(distances: SurfaceDistances, rules: Profile, *, percent: float) -> float:
    """Return the percentile of the surface distances in mm: of the larger direction, or of both together.

    By area it is the smallest distance at which the cumulated area reaches the share, as in
    surface-distance's `compute_robust_hausdorff`; of border voxels it is interpolated. The profile says
    which.
    """
    if percent == 100:
        return max(one.largest_mm for one in distances.both)
    return distances.percentile_mm(percent / 100, pooled=rules.surface.percentile == "pooled")


@lru_cache(maxsize=256)
def percentile_metric(key: str) -> Metric | None:
    """Return the metric of a key such as `hd95`; `None` if it is none."""
    found = _NAME.fullmatch(key)
    if key != "hd" and (found is None or not 0 < float(found[1]) < 100):
        return None
    percent = 100.0 if found is None else float(found[1])
    key = key if found is None else f"hd{percent:g}"
    return Metric(
        facts=MetricFacts(key=key, title=key.upper(), unit="mm", direction="lower", failed=math.inf),
        needs=("distances", "rules"),
        compute=partial(hausdorff, percent=percent),
        empty=DISTANCE,
    )


METRIC = percentile_metric("hd") or Metric()  # type: ignore[call-arg]
