"""What every figure draws from: a division's rows with their colours, values and failures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from markupsafe import Markup

from harness import text as format_
from harness.challenge import Challenge, Metric, MetricName
from harness.leaderboard import Division, Leaderboard, Row
from harness.leaderboard.counting import ABOUT_LABELS, charge, failed_value, metric_values
from harness.leaderboard.values import Bools, Floats, Results, RunValues

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
    """A division as figures see it; indices run over all rows, ranked ones first.

    Attributes:
        leaderboard: The whole.
        division: The part that is drawn.
        view: Who looks; `participant` shows nothing of single cases.
        results: The records behind each row, by (team, run).
    """

    leaderboard: Leaderboard
    division: Division
    view: View
    results: Mapping[tuple[str, str], Results]

    @property
    def challenge(self) -> Challenge:
        """The challenge."""
        return self.leaderboard.challenge

    @property
    def rows(self) -> Sequence[Row]:
        """All rows."""
        return self.division.rows

    @property
    def runs(self) -> Sequence[RunValues]:
        """The run behind each row."""
        return self.division.values

    @property
    def ranked(self) -> int:
        """How many rows are in competition; they are the first."""
        return len(self.division.ranked)

    @property
    def shows_cases(self) -> bool:
        """Whether figures may show single cases."""
        return self.view == "organiser"

    def results_of(self, index: int) -> Results | None:
        """Return the records of a row, if they were passed."""
        row = self.rows[index]
        return self.results.get((row.team, row.run))

    def colour(self, index: int) -> str:
        """Return the style class of a row's colour."""
        return f"m{index + 1}" if index < COLOURS else "m0"

    @cached_property
    def failed(self) -> Bools:
        """bool (cases, rows)."""
        return np.stack([~run.succeeded for run in self.runs], axis=1)

    @cached_property
    def label_metrics(self) -> list[Metric]:
        """The scheme's metrics about labels."""
        return [metric for metric in self.leaderboard.scheme.metrics if metric.metric in ABOUT_LABELS]

    def metric_cases(self, metric: Metric) -> Floats:
        """Return what each case counts, float64 (cases, rows); NaN where a case does not count."""
        members = self.challenge.label_groups[metric.labels] if metric.labels is not None else ()
        annotated = self.division.annotated
        return np.stack([metric_values(run, metric, members, annotated) for run in self.runs], axis=1)

    def organ_cases(self, name: MetricName) -> Floats:
        """Return each label's score, float64 (rows, cases, labels); failed cases at their failed value."""
        failed = failed_value(self.leaderboard.scheme, name) or 0.0
        scores = [charge(run, run.dsc if name is MetricName.DSC else run.nsd, failed) for run in self.runs]
        return np.where(self.division.annotated, np.stack(scores), np.nan)

    @cached_property
    def case_scores(self) -> Floats:
        """Mean of each case's label metrics, float64 (cases, rows); NaN if it has none."""
        if not self.label_metrics:
            return np.full(self.failed.shape, np.nan)
        stacked = np.stack([self.metric_cases(metric) for metric in self.label_metrics])
        counted = ~np.isnan(stacked)
        total = np.where(counted, stacked, 0).sum(axis=0)
        return np.where(counted.any(axis=0), total / np.maximum(counted.sum(axis=0), 1), np.nan)


def floor_of(values: Floats, lost: Bools) -> float:
    """Return where a score axis may start: below what all but 1 % of the cases that succeeded reach."""
    known = values[~np.isnan(values) & ~lost]
    if not len(known):
        return 0.0
    return float(np.clip(np.floor(10 * np.quantile(known, 0.01) - 0.2) / 10, 0.0, 0.9))


def metric_title(metric: Metric) -> str:
    """Return how a metric is called in headings."""
    names = {
        MetricName.DSC: "DSC",
        MetricName.NSD: "NSD",
        MetricName.RUNTIME_S: "run time",
        MetricName.PEAK_MEMORY_BYTES: "peak memory",
        MetricName.PEAK_GPU_MEMORY_BYTES: "peak GPU memory",
        MetricName.GPU_MEMORY_AUC_BYTE_S: "GPU memory AUC",
        MetricName.CPU_UTILISATION_AUC_PERCENT_S: "CPU utilisation AUC",
    }
    return f"{names[metric.metric]} {metric.labels}" if metric.labels else names[metric.metric]


def percent(value: float) -> str:
    """Return a fraction as a whole percentage."""
    return f"{100 * value:.0f}"


def score(value: float) -> str:
    """Return a fraction as a percentage with two decimals."""
    return format_.score(value)


def row_height(rows: int) -> float:
    """Return a line's height that keeps many rows on one page and few rows readable."""
    return 26.0 if rows <= 20 else 17.0
