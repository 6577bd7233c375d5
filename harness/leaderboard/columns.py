"""The columns of a leaderboard: one list that rows are filled from and that every table and file prints.

A column is one entry here. Those of scores follow from the challenge's metrics, groups and labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evaluator.metrics import MetricFacts
from harness import text
from harness.challenge import Challenge
from harness.challenge.metrics import heading_unit, shown_value
from harness.challenge.model import column_name
from harness.leaderboard.counting import Against, Counting
from harness.leaderboard.model import Row
from harness.leaderboard.values import Floats, RunValues


@dataclass(frozen=True, kw_only=True)
class Column:
    """A numeric column.

    Attributes:
        key: Its name in files, with its unit.
        title: The heading.
        value: What a run is worth, by the rules of counting.
        per_case: Of a column that is a mean, what is averaged, (cases,); NaN where a case does not count.
        shown: How the value reads.
        direction: Which way is better.
        about: One sentence on what the number is.
        kept: How long a terminal that gets narrower keeps it; the smallest goes first.
        place: Where `leaderboard.json` has it within a row.
        organ: Whether it is of a single label: tables show it only on request.
        if_used: Keys of columns; tables show this one only if a row has anything but zero in one of them.
        last: Whether tables show it after the others.
        compared: Whether a row can be best in it.
        penalty: How much of a run's value is what failed cases are charged: none, some, or all of it.
    """

    key: str
    title: str
    value: Callable[[Counting, RunValues], float | None]
    shown: Callable[[float | None], str]
    direction: Literal["higher", "lower"]
    about: str
    kept: int
    place: tuple[str, ...]
    per_case: Callable[[Counting, RunValues], Floats] | None = None
    organ: bool = False
    if_used: tuple[str, ...] = ()
    last: bool = False
    compared: bool = True
    penalty: Callable[[Counting, RunValues], bool] | None = None

    def of(self, row: Row) -> float | None:
        """Return a row's value."""
        return row.cells.get(self.key)

    def best(self, rows: Sequence[Row]) -> float | None:
        """Return the best value among the rows that can be best; None if none can."""
        known = [value for row in rows if self.can_be_best(row) and (value := self.of(row)) is not None]
        if not known:
            return None
        return max(known) if self.direction == "higher" else min(known)

    def can_be_best(self, row: Row) -> bool:
        """Whether a row achieved something here: no failure, no penalty and no zero is ever best."""
        value = self.of(row)
        if value is None or not self.compared or not row.achieved or self.key in row.charged:
            return False
        if row.source == "raters":
            return False
        return not math.isinf(value) and (self.direction == "lower" or value > 0)

    def text(self, row: Row) -> str:
        """Return a row's value as tables show it: a dash where every case failed and all of it is a penalty.

        A value that holds charges beside measurements has a dagger.
        """
        if row.failed == row.cases:
            return self.shown(None)
        sign = PENALTY if self.key in row.charged else ""
        return f"{self.shown(self.of(row))}{sign}"

    def heading(self, rows: Sequence[Row]) -> str:
        """Return the title with the number of cases that its means are over."""
        sizes = sorted({row.estimates[self.key].n for row in rows if self.key in row.estimates})
        if not sizes:
            return self.title
        return f"{self.title} n={sizes[0]}" + (f"–{sizes[-1]}" if len(sizes) > 1 else "")


def all_columns(challenge: Challenge, *, people: bool = False) -> list[Column]:
    """Return every column that rows have and files hold: groups, organs, and what was measured.

    A group that bears the name of its only label is that label: one column.

    Args:
        challenge: Label groups and metrics.
        people: Whether one row is of people, so that all are compared with single raters as well.
    """
    columns = [
        *(
            column
            for against in (("reference", "raters") if people else ("reference",))
            for column in _score_columns(challenge, against)
        ),
        *(column for group in challenge.label_groups for column in _false_alarms(group)),
        *(column for facts in challenge.label_metrics for column in organ_columns(challenge, facts)),
        *_MEASURED,
    ]
    first: dict[str, Column] = {}
    for column in columns:
        first.setdefault(column.key, column)
    return list(first.values())


def shown_columns(challenge: Challenge, rows: Sequence[Row]) -> list[Column]:
    """Return the columns that tables show of these rows: those in which one of them has a number."""
    shown = [
        column
        for column in all_columns(challenge, people=any(row.source == "raters" for row in rows))
        if not column.organ
        and (not column.if_used or _used(column, rows))
        and any(column.of(row) is not None for row in rows)
    ]
    return sorted(shown, key=lambda column: column.last)


def organ_columns(challenge: Challenge, facts: MetricFacts) -> list[Column]:
    """Return a column per label of one metric."""
    return [
        _mean_of(
            lambda counting, run, place=place: counting.label_values(run, facts.key)[:, place],  # type: ignore[misc]
            key=f"{facts.column}_{column_name(label.name)}",
            title=label.name,
            place=(f"organ_{facts.key}", label.name),
            organ=True,
            **_of_scores(facts),
        )
        for place, label in enumerate(challenge.labels)
    ]


def _score_columns(challenge: Challenge, against: Against) -> list[Column]:
    """Return the means of groups, and of metrics that are a number per case."""
    groups = [
        _group(facts, group, against) for group in challenge.label_groups for facts in challenge.label_metrics
    ]
    return [*groups, *(_case(facts, against) for facts in challenge.case_metrics)]


def _group(facts: MetricFacts, group: str, against: Against) -> Column:
    return _mean_of(
        lambda counting, run: counting.group_values(run, facts.key, group, against=against),
        key=f"{_AGAINST[against][0]}{facts.column}_{column_name(group)}",
        title=_heading(facts, group, _AGAINST[against][1]),
        place=(f"{_AGAINST[against][0]}{facts.key}", group),
        **_of_scores(facts, against),
    )


def _case(facts: MetricFacts, against: Against) -> Column:
    return _mean_of(
        lambda counting, run: counting.case_values(run, facts.key, against=against),
        key=f"{_AGAINST[against][0]}{facts.column}",
        title=_heading(facts, _AGAINST[against][1]),
        place=(f"{_AGAINST[against][0]}{facts.key}",),
        **_of_scores(facts, against),
    )


_AGAINST: dict[Against, tuple[str, str]] = {"reference": ("", ""), "raters": ("raters_", "vs raters")}
"""What names and headings of columns say of what scores are against."""


def _mean_of(per_case: Callable[[Counting, RunValues], Floats], **more: Any) -> Column:
    return Column(per_case=per_case, value=lambda counting, run: mean(per_case(counting, run)), **more)


def _false_alarms(group: str) -> list[Column]:
    """Return in how many cases labels were predicted that the reference lacks, and how much of them."""
    name = column_name(group)
    keys = (f"false_alarms_{name}", f"false_alarms_ml_{name}")

    def alarms(counting: Counting, run: RunValues) -> Floats:
        return counting.false_alarms_ml(run, group)

    def cases(counting: Counting, run: RunValues) -> float | None:
        found = alarms(counting, run)
        return None if np.isnan(found).all() else float((found > 0).sum())

    def volume_ml(counting: Counting, run: RunValues) -> float | None:
        found = alarms(counting, run)
        return None if np.isnan(found).all() else float(np.nansum(found))

    return [
        Column(
            key=keys[0],
            title=f"{group} false alarms",
            value=cases,
            shown=lambda value: "–" if value is None else f"{value:.0f}",
            direction="lower",
            about=f"Cases in which {group} was predicted where the reference holds none.",
            kept=3,
            place=("false_alarms", group),
            if_used=keys,
            compared=False,
        ),
        Column(
            key=keys[1],
            title=f"{group} false alarms ml",
            value=volume_ml,
            shown=lambda value: "–" if value is None else f"{value:.1f}",
            direction="lower",
            about=f"How much {group} was predicted where the reference holds none, in ml over all cases.",
            kept=2,
            place=("false_alarms_ml", group),
            if_used=keys,
            compared=False,
        ),
    ]


def _heading(facts: MetricFacts, *more: str) -> str:
    return " ".join(word for word in (facts.title, *more, heading_unit(facts)) if word)


def _of_scores(facts: MetricFacts, against: Against = "reference") -> dict[str, Any]:
    what = "Dice" if facts.key == "dsc" else facts.title
    unit = "percent" if facts.percent else facts.unit
    return {
        "shown": lambda value: shown_value(facts, value),
        "direction": facts.direction,
        "about": f"Mean {what} of the cases{f' in {unit}' if unit else ''}{_ABOUT[against]}; "
        "a failed case counts as the challenge's value.",
        "kept": _KEPT_DSC if facts.key == "dsc" else KEPT_SCORES,
    }


_ABOUT: dict[Against, str] = {
    "reference": "",
    "raters": ", of methods and people alike against each single rater, where a case has several",
}


def _used(column: Column, rows: Sequence[Row]) -> bool:
    return any(row.cells.get(key) for row in rows for key in column.if_used)


def mean(values: Floats) -> float | None:
    """Return the mean of what there is; infinite if one value is."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None


def _largest(values: Floats) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else None


def _quantile(values: Floats, share: float) -> float | None:
    known = values[~np.isnan(values)]
    return float(np.quantile(known, share, method="inverted_cdf")) if len(known) else None


def _runtime(counting: Counting, run: RunValues) -> Floats:
    return counting.resource(run, "runtime_s", fallback=run.record.limits.time_s)


def _is_a_charge(share: float) -> Callable[[Counting, RunValues], bool]:
    """Say of which runs a quantile of the run time is what failed cases are charged."""

    def charged(counting: Counting, run: RunValues) -> bool:
        value = _quantile(_runtime(counting, run), share)
        return value is not None and value not in run.resource("runtime_s")[run.succeeded]

    return charged


def _holds_charges(metric: str) -> Callable[[Counting, RunValues], bool]:
    """Say which runs' means of a measurement hold what failed cases are charged."""
    return lambda counting, run: counting.stated(metric) is not None and not run.succeeded.all()


PENALTY = "†"
"""Stands behind a value that is, or holds, what the challenge charges a failed case."""
_GPU = ("peak_gpu_memory_bytes", "gpu_memory_auc_byte_s")
KEPT_SCORES, _KEPT_DSC = 4, 7
"""How long tables that get narrower keep scores; see `Column.kept`."""
_MEASURED = (
    Column(
        key="runtime_median_s",
        title="time",
        value=lambda counting, run: _quantile(_runtime(counting, run), 0.5),
        shown=text.seconds,
        direction="lower",
        about="Median run time of a case; a failed case counts as the challenge's value.",
        kept=8,
        place=("runtime_median_s",),
        penalty=_is_a_charge(0.5),
    ),
    Column(
        key="runtime_p95_s",
        title="time p95",
        value=lambda counting, run: _quantile(_runtime(counting, run), 0.95),
        shown=text.seconds,
        direction="lower",
        about="95 % of the cases take no longer; a failed case counts as the challenge's value.",
        kept=3,
        place=("runtime_p95_s",),
        penalty=_is_a_charge(0.95),
    ),
    Column(
        key="cold_start_s",
        title="cold start",
        value=lambda counting, run: None if run.cold_start is None else run.cold_start[0] - run.cold_start[1],
        shown=text.seconds,
        direction="lower",
        about="How much longer the first run of a case took than its second, which counts.",
        kept=2,
        place=("cold_start_s",),
        if_used=("cold_start_s",),
        compared=False,
    ),
    Column(
        key="peak_working_set_bytes",
        title="memory",
        value=lambda counting, run: _largest(run.resource("peak_working_set_bytes")),
        shown=text.size,
        direction="lower",
        about="The largest peak of any case's working set: anonymous, shared and kernel memory.",
        kept=6,
        place=("peak_working_set_bytes",),
    ),
    Column(
        key="peak_memory_bytes",
        title="memory with cache",
        value=lambda counting, run: _largest(run.resource("peak_memory_bytes")),
        shown=text.size,
        direction="lower",
        about="The largest peak of any case with the file cache, which the limit is on; it depends on what "
        "the host had read before.",
        kept=1,
        place=("peak_memory_bytes",),
        compared=False,
    ),
    Column(
        key="peak_gpu_memory_bytes",
        title="GPU",
        value=lambda counting, run: _largest(run.resource("peak_gpu_memory_bytes")),
        shown=text.size,
        direction="lower",
        about="The largest peak device memory of any case.",
        kept=5,
        place=("peak_gpu_memory_bytes",),
        if_used=_GPU,
    ),
    Column(
        key="memory_auc_byte_s",
        title="AUC",
        value=lambda counting, run: mean(run.resource("memory_auc_byte_s")),
        shown=text.byte_seconds,
        direction="lower",
        about="Memory integrated over time, mean of the measured cases.",
        kept=1,
        place=("memory_auc_byte_s",),
        last=True,
    ),
    Column(
        key="gpu_memory_auc_byte_s",
        title="GPU AUC",
        value=lambda counting, run: mean(counting.resource(run, "gpu_memory_auc_byte_s", fallback=None)),
        shown=text.byte_seconds,
        direction="lower",
        about="Device memory integrated over time, mean of the cases.",
        kept=2,
        place=("gpu_memory_auc_byte_s",),
        if_used=_GPU,
        penalty=_holds_charges("gpu_memory_auc_byte_s"),
    ),
)
"""What was measured. A new column of this kind is an entry here and a line in docs/ranking.md."""
