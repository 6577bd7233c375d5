"""Export to the CSV tables of the FLARE challenges: scores and efficiency, a file of each per team.

The official tables have no row for a case without a prediction. These have one for every case, with the
challenge's value of a failed case, so that a mean over the file is the mean that was ranked.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from evaluator.labels import Label
from evaluator.scores import CaseScore, LabelScore
from evaluator.table import write_scores
from harness.files import write_whole
from harness.leaderboard import Division, RunValues
from harness.leaderboard.counting import Counting

EFFICIENCY_COLUMNS = (
    "Name",
    "Time",
    "MaxGPU_Mem",
    "AUC_GPU_Time",
    "MaxCPU_Utilization",
    "AUC_CPU_Time",
    "MaxRAM",
    "AUC_RAM_Time",
)
MB = 1024**2
"""Bytes of what FLARE's tables call a MB."""


def write_flare(division: Division, folder: Path) -> list[Path]:
    """Write `TEAM_DSC_NSD.csv` and `TEAM_Efficiency.csv` for every row.

    Args:
        division: A division of a leaderboard.
        folder: Made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, run in enumerate([run for run in division.values if not run.is_human], start=1):
        stem = _stem(run.record.team, number)
        scores = folder / f"{stem}_DSC_NSD.csv"
        write_whole(scores, score_csv(run, division.counting))
        written.append(scores)
        if run.record.source != "predictions":
            efficiency = folder / f"{stem}_Efficiency.csv"
            write_whole(efficiency, efficiency_csv(run, division.counting))
            written.append(efficiency)
    return written


def score_csv(run: RunValues, counting: Counting) -> str:
    """Return the official score table; labels that a case does not annotate are empty.

    Args:
        run: The run.
        counting: The labels, and what failed cases count.
    """
    labels = counting.challenge.labels
    scores = {key: counting.label_values(run, key) for key in ("dsc", "nsd") if key in counting.annotated}
    cases = [
        CaseScore(
            case=name,
            labels=tuple(
                _label_score(label, {key: float(values[case, i]) for key, values in scores.items()})
                for i, label in enumerate(labels)
            ),
            challenge=labels.name,
            profile=run.profile,
        )
        for case, name in enumerate(run.cases)
    ]
    output = io.StringIO()
    write_scores(cases, output, labels=labels, layout="flare")
    return output.getvalue()


def efficiency_csv(run: RunValues, counting: Counting) -> str:
    """Return the official efficiency table: seconds, MB, MB s, % and % s; what was not measured is empty.

    The peak of the CPU utilisation is not measured here: a share of an instant says nothing.
    """
    columns = [
        counting.charged(run, "runtime_s"),
        counting.charged(run, "peak_gpu_memory_bytes") / MB,
        counting.charged(run, "gpu_memory_auc_byte_s") / MB,
        np.full(len(run.cases), np.nan),
        counting.charged(run, "cpu_utilisation_auc_percent_s"),
        counting.charged(run, "peak_memory_bytes") / MB,
        run.resource("memory_auc_byte_s") / MB,
    ]
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(EFFICIENCY_COLUMNS)
    for case, name in enumerate(run.cases):
        values = ["" if np.isnan(column[case]) else f"{column[case]:.6g}" for column in columns]
        writer.writerow([f"{name}.nii.gz", *values])
    return output.getvalue()


def _label_score(label: Label, scores: Mapping[str, float]) -> LabelScore:
    """Return the evaluator's record with what its FLARE table shows; the counts are not part of that."""
    return LabelScore(
        label=label.value,
        organ=label.name,
        column=label.column,
        scores=scores,
        reference_ml=math.nan,
        prediction_ml=math.nan,
        true_positive_voxels=0,
        false_positive_voxels=0,
        false_negative_voxels=0,
    )


def _stem(team: str, number: int) -> str:
    """Return a file stem that a team's name cannot lead out of the folder."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", team).strip("-.")
    return plain if plain == team else f"{plain or 'team'}-{number}"
