"""The columns of the tables: what they are called, how they are formatted, which way is better.

The terminal, the Markdown file and the report show the same columns in the same order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from harness import text
from harness.challenge import Challenge, Direction
from harness.leaderboard.model import Row


@dataclass(frozen=True)
class Column:
    """A numeric column.

    Attributes:
        key: The column's name in files, with its unit.
        title: The heading.
        value: The raw value of a row.
        shown: How the value reads.
        direction: Which way is better.
        about: One sentence on what the number is.
    """

    key: str
    title: str
    value: Callable[[Row], float | None]
    shown: Callable[[float | None], str]
    direction: Direction
    about: str

    def best(self, rows: Sequence[Row]) -> float | None:
        """Return the best value among the rows."""
        known = [value for row in rows if (value := self.value(row)) is not None]
        if not known:
            return None
        return max(known) if self.direction is Direction.HIGHER else min(known)


def group_columns(challenge: Challenge) -> list[Column]:
    """Return the DSC and NSD columns of the label groups."""
    columns = []
    for group in challenge.label_groups:
        for metric in ("dsc", "nsd"):
            columns.append(_score(f"{metric}_{group}", f"{metric.upper()} {group} %", metric, metric, group))
    return columns


def organ_columns(challenge: Challenge, metric: str) -> list[Column]:
    """Return a column per organ of one metric, `dsc` or `nsd`."""
    return [
        _score(f"{metric}_{label.name.replace(' ', '_')}", label.name, metric, f"organ_{metric}", label.name)
        for label in challenge.labels
    ]


def resource_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of time and memory; those of the GPU only if a row used one."""
    columns = [
        Column(
            "runtime_median_s",
            "time",
            lambda row: row.runtime_median_s,
            text.seconds,
            Direction.LOWER,
            "Median run time of a case; a failed case counts as the challenge's value.",
        ),
        Column(
            "runtime_p95_s",
            "time p95",
            lambda row: row.runtime_p95_s,
            text.seconds,
            Direction.LOWER,
            "95 % of the cases take no longer; a failed case counts as the challenge's value.",
        ),
        Column(
            "peak_memory_bytes",
            "memory",
            lambda row: row.peak_memory_bytes,
            text.size,
            Direction.LOWER,
            "The largest peak memory of any case.",
        ),
    ]
    if any(row.peak_gpu_memory_bytes or row.gpu_memory_auc_byte_s for row in rows):
        columns.append(
            Column(
                "peak_gpu_memory_bytes",
                "GPU",
                lambda row: row.peak_gpu_memory_bytes,
                text.size,
                Direction.LOWER,
                "The largest peak device memory of any case.",
            )
        )
        columns.append(
            Column(
                "gpu_memory_auc_byte_s",
                "GPU AUC",
                lambda row: row.gpu_memory_auc_byte_s,
                text.byte_seconds,
                Direction.LOWER,
                "Device memory integrated over time, mean of the cases.",
            )
        )
    columns.append(
        Column(
            "memory_auc_byte_s",
            "AUC",
            lambda row: row.memory_auc_byte_s,
            text.byte_seconds,
            Direction.LOWER,
            "Memory integrated over time, mean of the measured cases.",
        )
    )
    return columns


def _score(key: str, title: str, metric: str, table: str, name: str) -> Column:
    def value(row: Row) -> float | None:
        scores: dict[str, float | None] = getattr(row, table)
        return scores.get(name)

    what = "Dice" if metric == "dsc" else "NSD"
    about = f"Mean {what} of the cases in percent; a failed case counts as the challenge's value."
    return Column(key, title, value, text.score, Direction.HIGHER, about)
