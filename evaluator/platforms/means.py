"""From the scores of cases to the means of a leaderboard, as the harness counts them.

A failed case counts what the challenge says. A label that a case's reference lacks counts as the challenge's
`both_empty` says. A test holds that the harness's leaderboard has the same means.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from evaluator.metrics import METRICS
from evaluator.platforms.rules import Column, PlatformRules
from evaluator.scores import CaseScore, LabelScore

STAND_IN = 999_999_999.0
"""Stands for an infinite mean: leaderboards of platforms hold numbers, and no infinity."""


@dataclass(frozen=True, kw_only=True)
class CaseResult:
    """One case as a platform's program found it.

    Attributes:
        score: The evaluator's; its `scored` is false if the case failed.
        notes: Why it failed, or what was noticed.
        runtime_s: How long the platform says that the case ran; None where it does not say.
        job: The platform's id of what made the prediction; empty if there is none.
    """

    score: CaseScore
    notes: tuple[str, ...] = ()
    runtime_s: float | None = None
    job: str = ""

    @property
    def failed(self) -> bool:
        """Whether there is no usable prediction of a case that has a usable reference."""
        return not self.score.scored and self.score.unusable != "reference"


def means_of(results: Sequence[CaseResult], rules: PlatformRules) -> dict[str, float]:
    """Return each column's mean over the cases; columns that no case has a value of are left out."""
    means = {}
    for column in rules.columns:
        values = [case_value(result, column, rules) for result in results]
        known = [value for value in values if not math.isnan(value)]
        if known and not (column.metric == "runtime_s" and len(known) < len(values)):
            means[column.key] = sum(known) / len(known)
    return means


def case_value(result: CaseResult, column: Column, rules: PlatformRules) -> float:
    """Return what a case counts in a column; NaN where it does not count."""
    score = result.score
    if score.unusable == "reference":
        return math.nan
    if column.metric == "runtime_s":
        measured = math.nan if result.runtime_s is None else result.runtime_s
        return column.failed if result.failed else measured
    if not column.group:
        value = score.scores.get(column.metric, math.nan)
        return value if score.scored and math.isfinite(value) else column.failed
    members = rules.groups[column.group]
    values = [_label_value(result, label, column, rules) for label in score.labels if label.label in members]
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan


def finite(value: float) -> float | None:
    """Return a number that JSON and platforms know: None for none, `STAND_IN` for an infinite one."""
    if math.isnan(value):
        return None
    return math.copysign(STAND_IN, value) if math.isinf(value) else value


def _label_value(result: CaseResult, label: LabelScore, column: Column, rules: PlatformRules) -> float:
    # A reference that was not read holds no voxel size; its labels are taken to be there.
    was_read = any(result.score.spacing_mm)
    absent = was_read and label.reference_ml == 0
    if absent and rules.both_empty == "not counted":
        return math.nan
    if result.failed:
        return column.failed
    value = label.scores.get(column.metric, math.nan)
    if absent and rules.both_empty == "nan" and label.prediction_ml == 0:
        return math.nan
    if math.isnan(value):
        facts = METRICS[column.metric].facts
        best = 1.0 if facts.percent and facts.direction == "higher" else 0.0
        return best if absent else math.nan
    return value if math.isfinite(value) else column.failed
