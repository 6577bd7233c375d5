"""Means over parts of the cases: by scanner, phase, sex, lesion size, or whatever a table of cases holds.

The table is a CSV file with a column `case` and a column for each thing known. Words make a subgroup each;
numbers with many values are cut into thirds. The size of what is segmented is known from the references.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from harness.challenge import Metric
from harness.errors import ConfigurationError
from harness.leaderboard.counting import Counting
from harness.leaderboard.uncertainty import Estimate, Samples, estimates
from harness.leaderboard.values import Bools, Floats, RunValues
from harness.text import printable

MOST_VALUES = 6
"""A column of numbers with more values than this is cut into thirds."""


@dataclass(frozen=True)
class CaseTable:
    """What is known of cases: by column and case, a word or a number written as one; absent where unknown."""

    columns: Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, eq=False)
class Subgroup:
    """The teams over a part of the cases.

    Attributes:
        column: What tells the part, such as `scanner`.
        value: The part, such as `A` or `2 to 10`.
        cases: How many cases it has.
        means: By key of the scheme's computed metrics, an estimate per row of the division; None where no
            case counts.
    """

    column: str
    value: str
    cases: int
    means: Mapping[str, Sequence[Estimate | None]]


def read_case_table(path: Path) -> CaseTable:
    """Read a table of cases.

    Raises:
        ConfigurationError: it cannot be read, has no column `case`, or names a case twice.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            sample = file.readline()
            file.seek(0)
            delimiter = max(",;\t", key=sample.count)
            rows = list(csv.DictReader(file, delimiter=delimiter))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError(
            "the table of cases cannot be read", where=path, mend=f"It must be a CSV file: {error}."
        ) from error
    names = [name for name in (rows[0] if rows else {}) if name]
    key = next((name for name in names if name.strip().lower() == "case"), None)
    if key is None:
        raise ConfigurationError(
            "the table of cases has no column `case`", where=path, mend="Its first line names the columns."
        )
    cases = [row[key].strip() for row in rows]
    if twice := next((case for case in cases if cases.count(case) > 1), None):
        raise ConfigurationError(f"case {twice} occurs twice", where=path, mend="Keep one line of it.")
    columns = {
        printable(name).strip(): {
            case: value for case, row in zip(cases, rows, strict=True) if (value := (row[name] or "").strip())
        }
        for name in names
        if name != key
    }
    return CaseTable(columns)


def check_cases(table: CaseTable, cases: Sequence[str], *, where: Path) -> list[str]:
    """Check that the table is about these cases, and return those that it names beside them.

    Raises:
        ConfigurationError: it names none of them.
    """
    named = {case for column in table.columns.values() for case in column}
    if named and not named & set(cases):
        raise ConfigurationError(
            f"the table names none of the {len(cases)} cases, but {min(named)} and the like",
            where=where,
            mend=f"Its column `case` must hold names such as {cases[0]}.",
        )
    return sorted(named - set(cases))


def unknown_cases(table: CaseTable, cases: Sequence[str]) -> list[str]:
    """Return the cases that the table says nothing of, so that they are in none of its parts."""
    named = {case for column in table.columns.values() for case in column}
    return sorted(set(cases) - named)


def subgroups(
    runs: Sequence[RunValues], counting: Counting, samples: Samples, *, table: CaseTable | None
) -> tuple[Subgroup, ...]:
    """Return the means over every part of the cases that is told by the table.

    Args:
        runs: Comparable runs, in the order of the rows.
        counting: The rules by which their cases count.
        samples: What intervals are made from.
        table: What is known of the cases; None for nothing. The size of each label group is added to it, in
            thirds, unless it holds a column of that name.
    """
    if table is None or not runs:
        return ()
    metrics = [metric for metric in counting.scheme.metrics if not metric.measured]
    values = {
        metric: np.stack([counting.ranked_values(run, metric) for run in runs], axis=1) for metric in metrics
    }
    return tuple(
        _subgroup(column, value, held, values, samples)
        for column, parts in parts_of(runs, counting, table).items()
        for value, held in parts.items()
    )


def parts_of(runs: Sequence[RunValues], counting: Counting, table: CaseTable) -> dict[str, dict[str, Bools]]:
    """Return, by column and value, which cases belong to it, (cases,)."""
    cases = runs[0].cases
    parts = {name: _parts([known.get(case, "") for case in cases]) for name, known in table.columns.items()}
    for group, labels in counting.challenge.label_groups.items():
        name = f"{group} ml"
        if name not in parts:
            volumes = _volumes(runs, np.isin(runs[0].labels, labels))
            parts[name] = _thirds(np.where(volumes > 0, volumes, np.nan))
    return {name: by_value for name, by_value in parts.items() if len(by_value) > 1}


def _subgroup(
    column: str, value: str, held: Bools, values: Mapping[Metric, Floats], samples: Samples
) -> Subgroup:
    drawn = Samples(samples.counts[:, held], samples.confidence)
    means = {metric.key: estimates(cases[held], drawn) for metric, cases in values.items()}
    return Subgroup(column, value, int(held.sum()), means)


def _volumes(runs: Sequence[RunValues], labels: Bools) -> Floats:
    """Return how much of some labels each reference holds, ml (cases,); NaN where no score tells it."""
    known = np.stack([run.reference_ml[:, labels] for run in runs])
    missing = np.isnan(known).all(axis=(0, 2))
    largest = np.where(np.isnan(known), -np.inf, known).max(axis=0)
    return np.where(missing, np.nan, np.where(np.isfinite(largest), largest, 0.0).sum(axis=1))


def _parts(words: Sequence[str]) -> dict[str, Bools]:
    """Return which cases hold each value; numbers of many values in thirds, unknown ones in no part."""
    numbers = [_number(word) for word in words]
    known = [word for word in words if word]
    if len(set(known)) > MOST_VALUES and all(_number(word) is not None for word in known):
        return _thirds(np.array([math.nan if number is None else number for number in numbers]))
    return {value: np.array([word == value for word in words]) for value in sorted(set(known), key=_order)}


def _thirds(numbers: Floats) -> dict[str, Bools]:
    known = numbers[np.isfinite(numbers)]
    if len(set(known.tolist())) < 3:
        return {}
    low, high = np.quantile(known, [1 / 3, 2 / 3])
    return {
        f"up to {_written(low)}": np.asarray(numbers <= low),
        f"{_written(low)} to {_written(high)}": np.asarray((numbers > low) & (numbers <= high)),
        f"above {_written(high)}": np.asarray(numbers > high),
    }


def _written(bound: float) -> str:
    """Return a bound with three figures, or as a whole number: `0.491`, `87.5`, `2034`."""
    return f"{bound:.0f}" if abs(bound) >= 1000 else f"{bound:.3g}"


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None


def _order(word: str) -> tuple[bool, float, str]:
    number = _number(word)
    return (number is None, number or 0.0, word)
