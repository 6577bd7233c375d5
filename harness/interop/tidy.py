"""Everything that is known, long: a line per team, case and label, and a line per team and case.

For whoever analyses with pandas or R. Nothing is charged here: what was not measured is empty, `counts` says
whether a value is in the means of the leaderboard, and `outcome` why it may be missing.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from harness.files import write_whole
from harness.leaderboard import Division, RunValues
from harness.leaderboard.values import MISSING, OUTCOMES, RESOURCES, Floats
from harness.text import csv_text


def write_tidy(division: Division, folder: Path) -> list[Path]:
    """Write `labels.csv` and `cases.csv`.

    Args:
        division: A division of a leaderboard.
        folder: Made if it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = {"labels.csv": label_csv(division), "cases.csv": case_csv(division)}
    for name, content in written.items():
        write_whole(folder / name, content)
    return [folder / name for name in written]


def label_csv(division: Division) -> str:
    """Return a line per team, case and annotated label: volumes in ml, and each metric as it was computed.

    Where cases have several raters, also each metric as the mean over what it is against each of them.
    """
    counting = division.counting
    facts = counting.challenge.label_metrics
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    columns = [column for fact in facts for column in (fact.column, f"{fact.column}_counts")]
    by_rater = facts if counting.several_raters.any() else ()
    columns += [f"raters_{fact.column}" for fact in by_rater]
    writer.writerow(
        ["team", "case", "outcome", "label", "name", "group", "reference_ml", "prediction_ml", *columns]
    )
    groups = counting.challenge.label_groups
    labels = list(counting.challenge.labels)
    group_of = [" ".join(name for name, held in groups.items() if label.value in held) for label in labels]
    for run in division.values:
        usable = run.succeeded & run.usable
        for case, place in zip(*np.nonzero(run.annotated), strict=True):
            cells: list[str] = []
            for fact in facts:
                cells.append(_cell(run.scores, fact.key, case, place) if usable[case] else "")
                cells.append(str(int(counting.annotated[fact.key][case, place])))
            for fact in by_rater:
                cells.append(_cell(run.rater_scores, fact.key, case, place) if usable[case] else "")
            writer.writerow(
                [
                    csv_text(run.record.team),
                    csv_text(run.cases[case]),
                    outcome_of(run, int(case)),
                    labels[place].value,
                    csv_text(labels[place].name),
                    csv_text(group_of[place]),
                    _number(float(run.reference_ml[case, place])),
                    _number(float(run.prediction_ml[case, place])),
                    *cells,
                ]
            )
    return output.getvalue()


def case_csv(division: Division) -> str:
    """Return a line per team and case: outcome, measurements, and metrics that are a number per case."""
    facts = division.counting.challenge.case_metrics
    output = io.StringIO()
    writer = csv.writer(output, lineterminator="\n")
    writer.writerow(["team", "run", "case", "outcome", *RESOURCES, *(fact.column for fact in facts)])
    for run in division.values:
        for case, name in enumerate(run.cases):
            measured = [_number(float(run.resource(key)[case])) for key in RESOURCES]
            scores = [
                _number(float(run.scores[fact.key][case])) if fact.key in run.scores else "" for fact in facts
            ]
            writer.writerow(
                [
                    csv_text(run.record.team),
                    run.record.run,
                    csv_text(name),
                    outcome_of(run, case),
                    *measured,
                    *scores,
                ]
            )
    return output.getvalue()


def outcome_of(run: RunValues, case: int) -> str:
    """Return how a case ended; `scored` for a prediction made elsewhere, `missing` without any record."""
    if run.outcomes[case] != MISSING:
        return str(OUTCOMES[run.outcomes[case]].value)
    return "scored" if run.scored[case] else "missing"


def _cell(scores: Mapping[str, Floats], key: str, case: int, label: int) -> str:
    return _number(float(scores[key][case, label])) if key in scores else ""


def _number(value: float) -> str:
    return (
        "" if math.isnan(value) else repr(value) if math.isfinite(value) else "inf" if value > 0 else "-inf"
    )
