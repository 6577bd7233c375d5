"""The columns of a leaderboard: one list that rows are filled from and that every table and file prints.

A column is one entry here. Those of scores follow from the challenge's metrics, groups and labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from evaluator.metrics import MetricFacts
from harness import text
from harness.challenge import Challenge
from harness.challenge.metrics import heading_unit, shown_value
from harness.challenge.model import column_name
from harness.leaderboard.counting import Counting
from harness.leaderboard.model import Row
from harness.leaderboard.values import Floats, RunValues


@dataclass(frozen=True, kw_only=True)
class Column:
    """A numeric column.

    Attributes:
        key: Its name in files, with its unit.
        title: The heading.
        value: What a run is worth, by the rules of counting.
        shown: How the value reads.
        direction: Which way is better.
        about: One sentence on what the number is.
        kept: How long a terminal that gets narrower keeps it; the smallest goes first.
        place: Where `leaderboard.json` has it within a row.
        organ: Whether it is of a single label: tables show it only on request.
        if_used: Whether tables show it only if a row has anything but zero there.
        last: Whether tables show it after the others.
    """

    key: str
    title: str
    value: Callable[[Counting, RunValues], float | None]
    shown: Callable[[float | None], str]
    direction: Literal["higher", "lower"]
    about: str
    kept: int
    place: tuple[str, ...]
    organ: bool = False
    if_used: bool = False
    last: bool = False

    def of(self, row: Row) -> float | None:
        """Return a row's value."""
        return row.cells.get(self.key)

    def best(self, rows: Sequence[Row]) -> float | None:
        """Return the best value among the rows."""
        known = [value for row in rows if (value := self.of(row)) is not None]
        if not known:
            return None
        return max(known) if self.direction == "higher" else min(known)


def all_columns(challenge: Challenge) -> list[Column]:
    """Return every column that rows have and files hold: groups, organs, and what was measured."""
    return [
        *(_group(facts, group) for group in challenge.label_groups for facts in challenge.label_metrics),
        *(_case(facts) for facts in challenge.case_metrics),
        *(column for facts in challenge.label_metrics for column in organ_columns(challenge, facts)),
        *_MEASURED,
    ]


def shown_columns(challenge: Challenge, rows: Sequence[Row]) -> list[Column]:
    """Return the columns that tables show of these rows."""
    shown = [
        column
        for column in all_columns(challenge)
        if not column.organ and not (column.if_used and not _used(column, rows))
    ]
    return sorted(shown, key=lambda column: column.last)


def organ_columns(challenge: Challenge, facts: MetricFacts) -> list[Column]:
    """Return a column per label of one metric."""
    return [
        Column(
            key=f"{facts.column}_{column_name(label.name)}",
            title=label.name,
            value=lambda counting, run, place=place: mean(  # type: ignore[misc]
                counting.label_values(run, facts.key)[:, place]
            ),
            place=(f"organ_{facts.key}", label.name),
            organ=True,
            **_of_scores(facts),
        )
        for place, label in enumerate(challenge.labels)
    ]


def _group(facts: MetricFacts, group: str) -> Column:
    return Column(
        key=f"{facts.column}_{column_name(group)}",
        title=_heading(facts, group),
        value=lambda counting, run: mean(counting.group_values(run, facts.key, group)),
        place=(facts.key, group),
        **_of_scores(facts),
    )


def _case(facts: MetricFacts) -> Column:
    return Column(
        key=facts.column,
        title=_heading(facts),
        value=lambda counting, run: mean(counting.case_values(run, facts.key)),
        place=(facts.key,),
        **_of_scores(facts),
    )


def _heading(facts: MetricFacts, *more: str) -> str:
    return " ".join(word for word in (facts.title, *more, heading_unit(facts)) if word)


def _of_scores(facts: MetricFacts) -> dict[str, Any]:
    what = "Dice" if facts.key == "dsc" else facts.title
    unit = "percent" if facts.percent else facts.unit
    return {
        "shown": lambda value: shown_value(facts, value),
        "direction": facts.direction,
        "about": f"Mean {what} of the cases{f' in {unit}' if unit else ''}; "
        "a failed case counts as the challenge's value.",
        "kept": _KEPT_DSC if facts.key == "dsc" else _KEPT_SCORES,
    }


def _used(column: Column, rows: Sequence[Row]) -> bool:
    pair = ("peak_gpu_memory_bytes", "gpu_memory_auc_byte_s")
    return any(row.cells.get(key) for row in rows for key in pair)


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


_KEPT_SCORES, _KEPT_DSC = 4, 7
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
    ),
    Column(
        key="peak_memory_bytes",
        title="memory",
        value=lambda counting, run: _largest(run.resource("peak_memory_bytes")),
        shown=text.size,
        direction="lower",
        about="The largest peak memory of any case.",
        kept=6,
        place=("peak_memory_bytes",),
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
        if_used=True,
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
        if_used=True,
    ),
)
"""What was measured. A new column of this kind is an entry here and a line in docs/ranking.md."""
