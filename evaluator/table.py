"""Scores as text: a tidy CSV with one row per case and label, tables of other programs, or JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from typing import TextIO

from evaluator._version import __version__
from evaluator.labels import LabelTable
from evaluator.metrics import DEFAULT_METRICS, METRICS
from evaluator.scores import CaseScore
from evaluator.shipped import CASE_TABLES

LAYOUTS = ("csv", "long", *CASE_TABLES, "json")


_KEYS = 3
"""Columns that say what a row is of: case, label, organ."""


def write_scores(
    scores: Iterable[CaseScore],
    output: TextIO,
    *,
    labels: LabelTable,
    metrics: Sequence[str] = DEFAULT_METRICS,
    layout: str = "csv",
    raters: bool = False,
) -> None:
    """Write scores as they come, flushing after each case.

    Args:
        scores: The cases; consumed once, never held.
        output: An open text file, opened with `newline=""`.
        labels: The table that the scores are for; gives the columns of other programs' tables.
        metrics: Keys of the metrics that `csv` has columns of, and `json` says the facts of.
        layout: `csv`: one row per case and label. `long`: one row per case, label and metric. `json`: one
            object with all records. Else the name of a table that has a row per case, such as `flare`.
        raters: Whether cases have several raters: `csv` and `long` then have a column that names them, and
            rows for the consensus and for each.
    """
    if layout == "json":
        _write_json(scores, output, labels, metrics)
        return
    writer = csv.writer(output, lineterminator="\n")
    if layout == "csv":
        columns = tidy_columns(metrics)
        writer.writerow([*columns[:_KEYS], *(["rater"] if raters else []), *columns[_KEYS:]])
        for score in scores:
            for each in (score, *score.raters):
                whose = [each.rater] if raters else []
                writer.writerows([*r[:_KEYS], *whose, *r[_KEYS:]] for r in tidy_rows(each, metrics))
            output.flush()
        return
    if layout == "long":
        named = ("case", "label", "organ", *(("rater",) if raters else ()), "metric", "value")
        writer.writerow(named)
        for score in scores:
            writer.writerows([_text(row.get(name, "")) for name in named] for row in score.records())
            output.flush()
        return
    columns_of, row = CASE_TABLES[layout]
    writer.writerow(columns_of(labels))
    for score in scores:
        writer.writerow([_text(cell) for cell in row(score, labels)])
        output.flush()


def tidy_columns(metrics: Sequence[str] = DEFAULT_METRICS) -> tuple[str, ...]:
    """Return the columns of the table with a row per case and label."""
    return (
        "case",
        "label",
        "organ",
        *(METRICS[key].facts.column for key in metrics),
        "reference_ml",
        "prediction_ml",
        "true_positive_voxels",
        "false_positive_voxels",
        "false_negative_voxels",
        "challenge",
        "profile",
        "note",
        "case_notes",
    )


def tidy_rows(score: CaseScore, metrics: Sequence[str] = DEFAULT_METRICS) -> list[list[str]]:
    """Return one row per label of a case, in the order of `tidy_columns`; what is not known is empty.

    A number per case stands in each of the case's rows, as its notes do.
    """
    return [
        [
            score.case,
            str(label.label),
            label.organ,
            *(_text(label.scores.get(key, score.scores.get(key, math.nan))) for key in metrics),
            _text(label.reference_ml),
            _text(label.prediction_ml),
            str(label.true_positive_voxels),
            str(label.false_positive_voxels),
            str(label.false_negative_voxels),
            score.challenge,
            score.profile,
            label.note,
            "; ".join(score.notes),
        ]
        for label in score.labels
    ]


def _text(cell: str | int | float) -> str:
    if isinstance(cell, (str, int)):
        return str(cell)
    return "" if math.isnan(cell) else repr(cell)


def _write_json(
    scores: Iterable[CaseScore], output: TextIO, labels: LabelTable, metrics: Sequence[str]
) -> None:
    head = {
        "evaluator_version": __version__,
        "notes": list(labels.notes),
        "metrics": [
            {"key": facts.key, "title": facts.title, "unit": facts.unit, "direction": facts.direction}
            for facts in (METRICS[key].facts for key in metrics)
        ],
        "labels": [
            {"value": label.value, "name": label.name, "tolerance_mm": label.tolerance_mm} for label in labels
        ],
    }
    output.write(f'{json.dumps(head)[:-1]},\n"cases": [')
    for index, score in enumerate(scores):
        output.write(",\n" if index else "\n")
        output.write(json.dumps(score.to_dict(), allow_nan=False))
        output.flush()
    output.write("\n]}\n")
