"""Read the tables of others: FLARE's score and efficiency CSVs, and nnU-Net's summary.json."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from evaluator.case_input import case_name
from evaluator.labels import LabelTable
from evaluator.nnunet import read_summary
from harness.errors import ConfigurationError
from harness.interop.flare import EFFICIENCY_COLUMNS, MB
from harness.results.records import Usage
from harness.scoring.imported import ImportedCase

_SUFFIXES = {"dsc": "_DSC", "nsd": "_NSD"}


def read_flare(scores: Path | None, efficiency: Path | None, labels: LabelTable) -> list[ImportedCase]:
    """Read a team's `TEAM_DSC_NSD.csv`, `TEAM_Efficiency.csv`, or both.

    What a table does not hold stays unknown: an efficiency table of any year may lack columns.

    Args:
        scores: The score table.
        efficiency: The efficiency table: seconds, MB of 2^20 bytes, MB s, % and % s.
        labels: The challenge's, with the stems of the columns.

    Raises:
        ConfigurationError: a table cannot be read, has no known column, or holds something else than numbers.
    """
    cases: dict[str, ImportedCase] = {}
    if scores is not None:
        cases = {name: ImportedCase(name, scores=found) for name, found in _scores(scores, labels)}
    if efficiency is not None:
        for name, row in _rows(efficiency, EFFICIENCY_COLUMNS[1:]):
            known = cases.get(name, ImportedCase(name))
            cases[name] = replace(known, run_s=row.get("Time"), usage=_usage(row))
    return list(cases.values())


def read_nnunet(summary: Path, labels: LabelTable) -> list[ImportedCase]:
    """Read nnU-Net's summary.json.

    Raises:
        EvaluatorError: it is none, or holds none of the labels.
    """
    return [
        ImportedCase(
            score.case,
            scores={label.label: label.scores for label in score.labels},
            reference_ml={label.label: 0.0 for label in score.labels if label.reference_ml == 0},
        )
        for score in read_summary(summary, labels)
    ]


def _scores(path: Path, labels: LabelTable) -> Iterator[tuple[str, dict[int, dict[str, float]]]]:
    column = {
        (label.value, key): f"{label.column}{suffix}" for label in labels for key, suffix in _SUFFIXES.items()
    }
    for name, row in _rows(path, tuple(column.values())):
        found: dict[int, dict[str, float]] = {}
        for (value, key), title in column.items():
            if title in row:
                found.setdefault(value, {})[key] = row[title]
        yield name, found


def _usage(row: Mapping[str, float]) -> Usage:
    def scaled(column: str, by: float) -> float | None:
        return row[column] * by if column in row else None

    ram, gpu = scaled("MaxRAM", MB), scaled("MaxGPU_Mem", MB)
    return Usage(
        peak_memory_bytes=None if ram is None else round(ram),
        memory_auc_byte_s=scaled("AUC_RAM_Time", MB),
        cpu_utilisation_auc_percent_s=scaled("AUC_CPU_Time", 1),
        peak_gpu_memory_bytes=None if gpu is None else round(gpu),
        gpu_memory_auc_byte_s=scaled("AUC_GPU_Time", MB),
        gpu_method="imported" if gpu is not None else None,
    )


def _rows(path: Path, known: tuple[str, ...]) -> Iterator[tuple[str, dict[str, float]]]:
    """Yield each case's name and its numbers by known column; empty cells are left out."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            columns = reader.fieldnames or []
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigurationError("the table cannot be read", where=path, mend=f"{error}.") from error
    if "Name" not in columns or not set(known) & set(columns):
        raise ConfigurationError(
            f"the table's columns are {', '.join(columns) or 'none'}",
            where=path,
            mend=f"It must have Name and some of {', '.join(known)}.",
        )
    for number, row in enumerate(rows, start=2):
        name = case_name(Path(row["Name"] or ""))
        yield name, dict(_numbers(row, known, where=f"{path}:{number}"))


def _numbers(
    row: Mapping[str, str | None], known: tuple[str, ...], *, where: str
) -> Iterator[tuple[str, float]]:
    for column in known:
        text = (row.get(column) or "").strip()
        if not text:
            continue
        try:
            value = float(text)
        except ValueError as error:
            raise ConfigurationError(
                f"{column} is {text!r}, not a number", where=where, mend="Correct the table."
            ) from error
        if not math.isnan(value):
            yield column, value
