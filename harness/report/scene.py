"""What every figure draws from: a division's rows with their colours, values and failures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from markupsafe import Markup

from evaluator.metrics import MetricFacts
from harness.challenge import Challenge, Metric
from harness.challenge.metrics import facts_of, is_fraction
from harness.leaderboard import Division, Leaderboard, Row
from harness.leaderboard.counting import Counting
from harness.leaderboard.values import Bools, Floats, RunValues
from harness.report.evidence import RunEvidence
from harness.report.marks import Mine

View = Literal["organiser", "participant"]

COLOURS = 8
"""Methods beyond this place share a neutral colour: more hues cannot be told apart."""


@dataclass(frozen=True)
class Figure:
    """A drawing or table with what it answers.

    Attributes:
        name: An anchor, unique in its division.
        question: What the figure answers; its caption opens with it.
        caption: How to read it.
        body: The drawing.
        wide: Whether it takes the page's whole width.
    """

    name: str
    question: str
    caption: str
    body: Markup
    wide: bool = False


@dataclass(frozen=True, eq=False)
class Scene:
    """A division as figures see it; indices run over the methods, ranked ones first.

    People, the last row where there is one, are in the table alone: figures draw what is scored against the
    reference, and people are scored against each other.

    Attributes:
        leaderboard: The whole.
        division: The part that is drawn.
        view: Who looks; `participant` shows nothing of single cases.
        anchor: What the names of its parts in the page start with.
    """

    leaderboard: Leaderboard
    division: Division
    view: View
    anchor: str = "d1"

    @property
    def challenge(self) -> Challenge:
        """The challenge."""
        return self.leaderboard.challenge

    @property
    def rows(self) -> Sequence[Row]:
        """The rows of methods."""
        return self.division.rows[: len(self.runs)]

    @cached_property
    def runs(self) -> Sequence[RunValues]:
        """The run behind each row."""
        return [run for run in self.division.values if not run.is_human]

    @property
    def ranked(self) -> int:
        """How many rows are in competition; they are the first."""
        return len(self.division.ranked)

    @property
    def shows_cases(self) -> bool:
        """Whether figures may show single cases."""
        return self.view == "organiser"

    def colour(self, index: int) -> str:
        """Return the style class of a row's colour."""
        return f"m{index + 1}" if index < COLOURS else "m0"

    def mine(self, index: int) -> Mine:
        """Return what marks of a row carry."""
        return Mine(index, self.colour(index), self.rows[index].team)

    @cached_property
    def evidence(self) -> Sequence[RunEvidence]:
        """What each row's journals tell of single cases, read when first asked."""
        return [RunEvidence(run.folder) for run in self.runs]

    @cached_property
    def failed(self) -> Bools:
        """bool (cases, rows)."""
        return np.stack([~run.succeeded for run in self.runs], axis=1)

    @property
    def counting(self) -> Counting:
        """The rules by which the cases count."""
        return self.division.counting

    @cached_property
    def score_metrics(self) -> list[Metric]:
        """The scheme's metrics that are computed from predictions."""
        return [metric for metric in self.leaderboard.scheme.metrics if not metric.measured]

    @cached_property
    def label_facts(self) -> Sequence[MetricFacts]:
        """The computed metrics that are a number per label; the first stands for accuracy where one must."""
        return sorted(self.challenge.label_metrics, key=lambda facts: not is_fraction(facts))

    @property
    def group(self) -> str:
        """The group of labels that stands for accuracy where one must."""
        return next(iter(self.challenge.label_groups))

    def metric_cases(self, metric: Metric) -> Floats:
        """Return what each case counts, float64 (cases, rows); NaN where a case does not count."""
        return np.stack([self.counting.ranked_values(run, metric) for run in self.runs], axis=1)

    def label_cases(self, index: int, metric: str) -> Floats:
        """Return a row's score of each label, float64 (cases, labels); failed cases at their failed value."""
        return self.counting.label_values(self.runs[index], metric)

    @property
    def scores_cases(self) -> bool:
        """Whether cases have a score in percent."""
        return bool(self._fractions)

    @cached_property
    def case_scores(self) -> Floats:
        """Mean of each case's metrics that are fractions, float64 (cases, rows); NaN if it has none."""
        if not self._fractions:
            return np.full(self.failed.shape, np.nan)
        stacked = np.stack(self._fractions)
        counted = ~np.isnan(stacked)
        total = np.where(counted, stacked, 0).sum(axis=0)
        return np.where(counted.any(axis=0), total / np.maximum(counted.sum(axis=0), 1), np.nan)

    @cached_property
    def _fractions(self) -> list[Floats]:
        """The ranked fractions of each case; where none is ranked, those that are computed."""
        ranked = [metric for metric in self.score_metrics if is_fraction(facts_of(metric.metric))]
        if ranked:
            return [self.metric_cases(metric) for metric in ranked]
        return [
            np.stack([self.counting.group_values(run, facts.key, self.group) for run in self.runs], axis=1)
            for facts in self.label_facts
            if is_fraction(facts)
        ]


def row_height(rows: int) -> float:
    """Return a line's height that keeps many rows on one page and few rows readable."""
    return 28.0 if rows <= 4 else 24.0 if rows <= 20 else 17.0
