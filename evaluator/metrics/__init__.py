"""The metrics: one file and one row of the table each."""

from evaluator.metrics.facts import MetricFacts

__all__ = ["MetricFacts"]
