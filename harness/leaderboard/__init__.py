"""Leaderboards: from results on disk to one order of teams, with how sure it is."""

from harness.leaderboard.build import DEFAULT_SEED, build
from harness.leaderboard.files import write_files
from harness.leaderboard.model import Division, Leaderboard, Row
from harness.leaderboard.reading import read_values, refuse_unsigned
from harness.leaderboard.terminal import render_terminal
from harness.leaderboard.values import RunValues

__all__ = [
    "DEFAULT_SEED",
    "Division",
    "Leaderboard",
    "Row",
    "RunValues",
    "build",
    "read_values",
    "refuse_unsigned",
    "render_terminal",
    "write_files",
]
