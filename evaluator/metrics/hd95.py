"""95th percentile of the surface distances: the usual one of the family in hd.py."""

from __future__ import annotations

from dataclasses import replace

from evaluator.metrics.hd import METRIC as HD
from evaluator.metrics.hd import percentile_metric

METRIC = percentile_metric("hd95") or replace(HD)
