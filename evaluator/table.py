"""Scores as text: a tidy CSV with one row per case and label, the official FLARE columns, or JSON."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Sequence
from typing import Literal, TextIO

import numpy as np

from evaluator._version import __version__
from evaluator.labels import Label, LabelTable
from evaluator.scores import CaseScore

Format = Literal["csv", "flare", "json"]
FORMATS: tuple[Format, ...] = ("csv", "flare", "json")

TIDY_COLUMNS = (
    "case",
    "label",
    "organ",
    "dsc",
    "nsd",
    "reference_ml",
    "prediction_ml",
    "true_positive_voxels",
    "false_positive_voxels",
    "false_negative_voxels",
    "hd95_mm",
    "assd_mm",
    "challenge",
    "profile",
    "note",
    "case_notes",
)

_LESION = "Lesion"
_FLARE_DECIMALS = 4


def write_scores(
    scores: Iterable[CaseScore], output: TextIO, *, labels: LabelTable, layout: Format = "csv"
) -> None:
    """Write scores as they come, flushing after each case.

    Args:
        scores: The cases; consumed once, never held.
        output: An open text file, opened with `newline=""`.
        labels: The table that the scores are for; gives the FLARE columns.
        layout: `csv`: one row per case and label. `flare`: one row per case with the official columns.
            `json`: one object with all records.
    """
    if layout == "json":
        _write_json(scores, output)
        return
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(TIDY_COLUMNS if layout == "csv" else flare_columns(labels))
    for score in scores:
        writer.writerows(tidy_rows(score) if layout == "csv" else [flare_row(score, labels)])
        output.flush()


def tidy_rows(score: CaseScore) -> list[list[str]]:
    """Return one row per label of a case, in the order of `TIDY_COLUMNS`; what is not known is empty."""
    return [
        [
            score.case,
            str(label.label),
            label.organ,
            _number(label.dsc),
            _number(label.nsd),
            _number(label.reference_ml),
            _number(label.prediction_ml),
            str(label.true_positive_voxels),
            str(label.false_positive_voxels),
            str(label.false_negative_voxels),
            _number(label.hd95_mm),
            _number(label.assd_mm),
            score.challenge,
            score.profile,
            label.note,
            "; ".join(score.notes),
        ]
        for label in score.labels
    ]


def flare_columns(labels: LabelTable) -> list[str]:
    """Return the columns of the official score table of a challenge.

    FLARE21 writes DSC and NSD of a label side by side, the later ones all DSC before all NSD. Where organs
    and a tumor are scored together (FLARE23), the means over the organs follow.
    """
    if labels.name == "flare21":
        return ["Name", *(f"{metric}_{label.column}" for label in labels for metric in ("DSC", "NSD-1mm"))]
    columns = [f"{label.column}_{metric}" for metric in ("DSC", "NSD") for label in labels]
    return ["Name", *columns, *(("Organ_DSC", "Organ_NSD") if _has_organ_means(labels) else ())]


def flare_row(score: CaseScore, labels: LabelTable) -> list[str]:
    """Return one case in the order of `flare_columns`; labels that were not scored are empty."""
    known = {label.label: label for label in score.labels}

    def dsc(label: Label) -> float | None:
        return known[label.value].dsc if label.value in known else None

    def nsd(label: Label) -> float | None:
        return known[label.value].nsd if label.value in known else None

    name = f"{score.case}.nii.gz"
    if labels.name == "flare21":
        return [name, *(_number(metric(label)) for label in labels for metric in (dsc, nsd))]
    values = [_rounded(metric(label)) for metric in (dsc, nsd) for label in labels]
    if _has_organ_means(labels):
        organs = [label for label in labels if label.column != _LESION]
        values += [_mean([_rounded(metric(label)) for label in organs]) for metric in (dsc, nsd)]
    return [name, *(_number(value) for value in values)]


def _has_organ_means(labels: LabelTable) -> bool:
    return len(labels) > 1 and any(label.column == _LESION for label in labels)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(np.round(np.float64(value), _FLARE_DECIMALS))


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and not math.isnan(value)]
    return _rounded(float(np.mean(known))) if known else None


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(value)


def _write_json(scores: Iterable[CaseScore], output: TextIO) -> None:
    output.write(f'{{"evaluator_version": {json.dumps(__version__)},\n"cases": [')
    for index, score in enumerate(scores):
        output.write(",\n" if index else "\n")
        output.write(json.dumps(score.to_dict(), allow_nan=False))
        output.flush()
    output.write("\n]}\n")
