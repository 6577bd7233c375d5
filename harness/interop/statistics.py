"""How sure a ranking is, as long tables: a line per mean, per pair of teams, and per part of the cases."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from harness.files import write_whole
from harness.leaderboard import Division
from harness.leaderboard.uncertainty import Estimate, Samples, difference
from harness.text import csv_text

_INTERVALS = ("mean", "n", "percentile_low", "percentile_high", "bca_low", "bca_high")


def write_statistics(division: Division, folder: Path, *, samples: Samples) -> list[Path]:
    """Write `means.csv`, `differences.csv`, `wins.csv` and, if the cases have parts, `subgroups.csv`.

    Args:
        division: A division of a leaderboard; pairs are those in competition.
        folder: Made if it does not exist.
        samples: What intervals are made from.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tables = {
        "means.csv": _table(("metric", "team", *_INTERVALS), _means(division)),
        "differences.csv": _table(("metric", "team", "other", *_INTERVALS), _differences(division, samples)),
        "wins.csv": _table(("team", "other", "win_rate", "p_holm", "p_first"), _wins(division)),
    }
    if division.subgroups:
        header = ("column", "value", "metric", "team", *_INTERVALS)
        tables["subgroups.csv"] = _table(header, _subgroups(division))
    for name, content in tables.items():
        write_whole(folder / name, content)
    return [folder / name for name in tables]


def _means(division: Division) -> Iterator[tuple[object, ...]]:
    for row in division.rows:
        for key, estimate in row.estimates.items():
            yield (key, csv_text(row.team), *_cells(estimate))


def _differences(division: Division, samples: Samples) -> Iterator[tuple[object, ...]]:
    ranked = division.ranked
    for metric in division.metrics:
        values = [division.counting.ranked_values(run, metric) for run in division.values[: len(ranked)]]
        for place, row in enumerate(ranked):
            for other in range(place + 1, len(ranked)):
                estimate = difference(values[place], values[other], samples)
                yield (metric.key, csv_text(row.team), csv_text(ranked[other].team), *_cells(estimate))


def _wins(division: Division) -> Iterator[tuple[object, ...]]:
    analysis = division.analysis
    if analysis is None:
        return
    ranked, tests = division.ranked, analysis.significance
    tested = 0 if tests is None else len(tests.adjusted)
    for place, row in enumerate(ranked):
        for other, against in enumerate(ranked):
            if place != other:
                p_value = tests.adjusted[place, other] if tests and max(place, other) < tested else ""
                rate = analysis.win_rates[place, other]
                yield (csv_text(row.team), csv_text(against.team), rate, p_value, row.p_first)


def _subgroups(division: Division) -> Iterator[tuple[object, ...]]:
    for part in division.subgroups:
        for key, means in part.means.items():
            for row, estimate in zip(division.rows, means, strict=True):
                yield (
                    csv_text(part.column),
                    csv_text(part.value),
                    key,
                    csv_text(row.team),
                    *_cells(estimate),
                )


def _cells(estimate: Estimate | None) -> tuple[object, ...]:
    if estimate is None:
        return ("", 0, "", "", "", "")
    nothing = ("", "")
    return (estimate.mean, estimate.n, *(estimate.percentile or nothing), *(estimate.bca or nothing))


def _table(header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return output.getvalue()
