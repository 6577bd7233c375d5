"""nnU-Net's summary.json, written and read: counts, Dice and IoU of each case and label, and their means.

Keys and formulas follow nnU-Net 2.8 (https://github.com/MIC-DKFZ/nnUNet, evaluate_predictions.py): a
label's key is its voxel value, a region's the tuple of its values; Dice and IoU are NaN where neither volume
holds a voxel. nnU-Net has no row for a case without a prediction; ours has one, with nothing found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from evaluator.case_input import case_name
from evaluator.errors import RequestError
from evaluator.folder import CaseFiles
from evaluator.json_files import read_json
from evaluator.labels import Label, LabelTable
from evaluator.scores import CaseScore, LabelScore

METRICS = ("dsc", "iou")
"""What a summary holds of the evaluator's metrics."""

_COUNTS = ("TP", "FP", "FN", "TN", "n_pred", "n_ref")
_SCORES = {"dsc": "Dice", "iou": "IoU"}


def write_summary(
    scores: Iterable[CaseScore], output: TextIO, *, labels: LabelTable, files: Sequence[CaseFiles]
) -> None:
    """Write summary.json.

    Args:
        scores: The cases, in the order of `files`.
        output: An open text file.
        labels: The table that the scores are for.
        files: The cases' files.
    """
    cases = [_case(score, named, labels) for score, named in zip(scores, files, strict=True)]
    keys = [label_key(label) for label in labels]
    means = {key: _means([case["metrics"][key] for case in cases if key in case["metrics"]]) for key in keys}
    summary = {
        "foreground_mean": _plain_means([mean for mean in means.values() if mean]),
        "mean": means,
        "metric_per_case": cases,
    }
    # nnU-Net writes and reads NaN, which strict JSON does not know.
    json.dump(summary, output, indent=4, sort_keys=True)
    output.write("\n")


def label_key(label: Label) -> str:
    """Return how nnU-Net's summaries name a label (`3`) or a region (`(1, 2)`)."""
    return str(label.parts) if label.parts else str(label.value)


def read_summary(path: Path | str, labels: LabelTable) -> list[CaseScore]:
    """Return the cases of a summary.json.

    Args:
        path: The file.
        labels: Which of its labels and regions are read; others are passed over. Volumes in ml are unknown,
            apart from those of labels that are not there.

    Raises:
        MissingFileError: It cannot be read.
        RequestError: It is no summary, or lacks all of the labels.
    """
    path = Path(path)
    scores = read_json(
        path,
        lambda summary: [_score(row, labels) for row in summary["metric_per_case"]],
        what="nnU-Net's summary",
        mend="Give the summary.json that `nnUNetv2_evaluate_folder` writes",
    )
    if not any(score.labels for score in scores):
        wanted = ", ".join(map(label_key, labels))
        raise RequestError("the summary holds none of the labels", where=path, mend=f"They are {wanted}")
    return scores


def _case(score: CaseScore, files: CaseFiles, labels: LabelTable) -> dict[str, Any]:
    held = {label.value: label for label in labels}
    prediction = "" if files.prediction is None else str(files.prediction)
    metrics = {label_key(held[row.label]): _counted(row, score.voxels) for row in score.labels}
    return {"metrics": metrics, "prediction_file": prediction, "reference_file": str(files.reference)}


def _counted(row: LabelScore, voxels: int) -> dict[str, float]:
    found, false, missed = row.true_positive_voxels, row.false_positive_voxels, row.false_negative_voxels
    there = found + false + missed
    return {
        "Dice": 2 * found / (there + found) if there else math.nan,
        "IoU": found / there if there else math.nan,
        "TP": found,
        "FP": false,
        "FN": missed,
        "TN": max(0, voxels - there),
        "n_pred": found + false,
        "n_ref": found + missed,
    }


def _means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each number's mean over the cases that have it."""
    means = {}
    for name in rows[0] if rows else ():
        known = [row[name] for row in rows if not math.isnan(row[name])]
        means[name] = sum(known) / len(known) if known else math.nan
    return means


def _plain_means(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return each number's mean over the labels; NaN if one of them has none."""
    return {name: sum(row[name] for row in rows) / len(rows) for name in (rows[0] if rows else ())}


def _score(row: Mapping[str, Any], labels: LabelTable) -> CaseScore:
    named = row.get("reference_file") or row["prediction_file"]
    metrics = row["metrics"]
    scores = [
        _label_score(label, metrics[label_key(label)]) for label in labels if label_key(label) in metrics
    ]
    return CaseScore(
        case=case_name(Path(str(named))),
        challenge=labels.name,
        profile="nnunet",
        labels=tuple(scores),
        notes=("read from nnU-Net's summary",),
        scored=bool(row.get("prediction_file", "unknown")),
        voxels=_voxels(metrics),
    )


def _voxels(metrics: Mapping[str, Mapping[str, float]]) -> int:
    """Return how many voxels the volume has: the four counts of any label together."""
    return next((int(sum(row[name] for name in _COUNTS[:4])) for row in metrics.values()), 0)


def _label_score(label: Label, stated: Mapping[str, float]) -> LabelScore:
    numbers = {name: int(stated[name]) for name in _COUNTS}
    return LabelScore(
        label=label.value,
        organ=label.name,
        column=label.column,
        scores={key: float(stated[name]) for key, name in _SCORES.items() if name in stated},
        reference_ml=math.nan if numbers["n_ref"] else 0.0,
        prediction_ml=math.nan if numbers["n_pred"] else 0.0,
        true_positive_voxels=numbers["TP"],
        false_positive_voxels=numbers["FP"],
        false_negative_voxels=numbers["FN"],
    )
