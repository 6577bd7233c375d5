"""Challenges: which labels count, what a container may use, how teams are ranked."""

from harness.challenge.load import load_challenge, shipped_names
from harness.challenge.model import (
    Challenge,
    Contract,
    Direction,
    Limits,
    Metric,
    MetricName,
    RankingScheme,
)

__all__ = [
    "Challenge",
    "Contract",
    "Direction",
    "Limits",
    "Metric",
    "MetricName",
    "RankingScheme",
    "load_challenge",
    "shipped_names",
]
