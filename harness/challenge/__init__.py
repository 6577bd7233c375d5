"""Challenges: which labels count, what a container may use, how teams are ranked."""

from harness.challenge.draft import draft
from harness.challenge.limits import Limits
from harness.challenge.load import load_challenge, parse_challenge, shipped_names
from harness.challenge.model import Challenge, ChallengeLabel, Contract, Scoring, for_algorithms
from harness.challenge.ranking import Direction, Metric, Number, RankingScheme
from harness.challenge.sockets import Sockets

__all__ = [
    "Challenge",
    "ChallengeLabel",
    "Contract",
    "Direction",
    "Limits",
    "Metric",
    "Number",
    "RankingScheme",
    "Scoring",
    "Sockets",
    "draft",
    "for_algorithms",
    "load_challenge",
    "parse_challenge",
    "shipped_names",
]
