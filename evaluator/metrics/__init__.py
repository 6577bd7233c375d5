"""The metrics: one file and one row of the table each."""

from evaluator.metrics.facts import MetricFacts
from evaluator.metrics.metric import EmptyRule, Metric
from evaluator.metrics.table import (
    DEFAULT_METRICS,
    METRICS,
    in_table_order,
    keys_of,
    metric_named,
    register,
)

__all__ = [
    "DEFAULT_METRICS",
    "METRICS",
    "EmptyRule",
    "Metric",
    "MetricFacts",
    "in_table_order",
    "keys_of",
    "metric_named",
    "register",
]
