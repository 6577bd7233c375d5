"""Export to challengeR (Wiesenfarth et al., Scientific Reports 11:2369, 2021): a long table per metric.

challengeR takes one direction per analysis: each metric has its own file, and `analyse.R` reads them all.
"""

from __future__ import annotations

import csv
import io
import math
import re
from pathlib import Path

from harness.challenge import Direction, Metric, RankingScheme
from harness.files import write_whole
from harness.leaderboard import Division
from harness.text import printable

COLUMNS = ("task", "case", "algorithm", "value")
_ORDERS = {
    "rank-then-average": "rankThenAggregate(data, FUN = mean, ties.method = '{ties}')",
    "average-then-rank": "aggregateThenRank(data, FUN = mean, ties.method = '{ties}')",
    "test-then-rank": "testThenRank(data, alpha = 0.05, p.adjust.method = 'holm', ties.method = '{ties}')",
}
_TIES = {"mean": "average", "best": "min"}


def write_challenger(division: Division, scheme: RankingScheme, folder: Path, *, seed: int = 1) -> list[Path]:
    """Write a CSV file per ranked metric, and an R script that analyses them.

    The values are those that were ranked: failed cases at the challenge's value, tolerances not yet applied.

    Args:
        division: A division of a leaderboard; rows out of competition are left out.
        scheme: The scheme that the division was ranked by.
        folder: Made if it does not exist.
        seed: Seeds the script's bootstrap.
    """
    folder.mkdir(parents=True, exist_ok=True)
    analysis = division.analysis
    if analysis is None:
        return []
    written = []
    steps = ["library(challengeR)", f"set.seed({seed})"]
    for index, metric in enumerate(analysis.table.metrics):
        path = folder / f"{_stem(metric)}.csv"
        write_whole(path, metric_csv(division, index))
        smaller = "TRUE" if metric.direction is Direction.LOWER else "FALSE"
        steps += [
            "",
            f"table <- read.csv('{path.name}', na.strings = character(0), encoding = 'UTF-8',",
            "                  colClasses = c('character', 'character', 'character', 'numeric'))",
            "data <- as.challenge(table, case = 'case', algorithm = 'algorithm', value = 'value', "
            f"smallBetter = {smaller})",
            f"ranking <- {_ORDERS[scheme.order].format(ties=_TIES[scheme.ties])}",
            "boot <- bootstrap(ranking, nboot = 1000)",
            f"report(boot, title = {_r_text(metric.key)}, file = '{_stem(metric)}', format = 'HTML')",
        ]
        written.append(path)
    write_whole(folder / "analyse.R", "\n".join(steps) + "\n")
    return [*written, folder / "analyse.R"]


def metric_csv(division: Division, index: int) -> str:
    """Return one ranked metric as challengeR's long table."""
    assert division.analysis is not None
    table = division.analysis.table
    output = io.StringIO()
    # Every text in quotes, and no number: so R's reader can be told that text is text.
    writer = csv.writer(output, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(COLUMNS)
    for team, row in enumerate(division.ranked):
        for case, name in enumerate(division.cases):
            if table.counted[index, case]:
                value = float(table.values[index, case, team])
                number = value if math.isfinite(value) else _Infinite(value)
                writer.writerow((table.metrics[index].key, printable(name), printable(row.team), number))
    return output.getvalue()


def _stem(metric: Metric) -> str:
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", metric.key)


class _Infinite(float):
    """An infinite number in R's spelling."""

    def __repr__(self) -> str:
        return "Inf" if self > 0 else "-Inf"

    __str__ = __repr__


def _r_text(text: str) -> str:
    """Return a text as R reads it."""
    return f"""'{printable(text).replace(chr(92), chr(92) * 2).replace("'", chr(92) + "'")}'"""
