"""What the page of one submission shows, for its team."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import text as format_
from harness.challenge import Metric, MetricName
from harness.leaderboard.counting import ABOUT_LABELS
from harness.report.cases import Failure, failures, outcome_name, own_cases
from harness.report.index_page import Fact, Pair, run_facts
from harness.report.overlays import Picture
from harness.report.scene import Figure, Scene, metric_title

_MARKED = {
    "incomplete": "is of an incomplete run; cases without a verdict count as failed",
    "predictions": "scores predictions; nothing was run, so there is no time or memory",
    "requires_root": "ran as root",
    "writable_root": "had a writable root file system",
    "not_isolated": "ran without isolation",
    "lower_bound": "has a peak memory that was sampled: the true one may be higher",
}
_WORST = 25
_LOGS = 5
_TAIL_BYTES = 6000
_TAIL_LINES = 40


@dataclass(frozen=True)
class WorstCase:
    """One case in the list of a submission's worst."""

    case: str
    score: float
    field: float
    organs: str
    runtime_s: float | None
    memory_bytes: float | None
    outcome: str


def submission_page(scene: Scene, index: int, pictures: Mapping[tuple[int, str], Picture]) -> dict[str, Any]:
    """Return a submission page's values for its template.

    Args:
        scene: The division.
        index: The row.
        pictures: Drawn worst cases by (row, case).
    """
    row = scene.rows[index]
    own: list[Failure] = []
    worst: list[WorstCase] = []
    logs: list[tuple[str, str, str]] = []
    figures: list[Figure] = []
    if scene.shows_cases:
        if scene.label_metrics and len(scene.division.cases) > 1:
            figures.append(own_cases(scene, index))
        own, _ = failures(scene, only=index)
        worst = worst_first(scene, index)
        logs = _logs(scene, index, worst)
    gallery = sorted((item for key, item in pictures.items() if key[0] == index), key=lambda item: item.score)
    return {
        "title": f"{row.team}: {scene.challenge.title}",
        "row": row,
        "division": scene.division,
        "facts": _facts(scene, index),
        "notes": _notes(scene, index),
        "numbers": [_number(scene, index, metric) for metric in scene.leaderboard.scheme.metrics],
        "organs": _organs(scene, index),
        "figures": figures,
        "failed": own,
        "outcomes": [(name.replace("_", " "), str(count)) for name, count in row.outcomes.items()],
        "worst": worst,
        "gallery": gallery,
        "logs": logs,
        "reproduce": _reproduce(scene, index),
    }


def worst_first(scene: Scene, index: int) -> list[WorstCase]:
    """List a submission's cases by their mean score, the worst first."""
    scores = scene.case_scores
    organs = scene.organ_cases(MetricName.DSC)[index]
    names = [label.name for label in scene.challenge.labels]
    run = scene.runs[index]
    listed = []
    for case in map(int, np.argsort(scores[:, index], kind="stable")):
        if np.isnan(scores[case, index]):
            continue
        order = [int(label) for label in np.argsort(organs[case]) if not np.isnan(organs[case, label])]
        listed.append(
            WorstCase(
                case=scene.division.cases[case],
                score=float(scores[case, index]),
                field=float(np.nanmedian(scores[case])),
                organs=", ".join(f"{names[label]} {100 * organs[case, label]:.1f}" for label in order[:3]),
                runtime_s=_known(run.resource("runtime_s")[case]),
                memory_bytes=_known(run.resource("peak_memory_bytes")[case]),
                outcome=outcome_name(scene, case, index).replace("_", " "),
            )
        )
        if len(listed) == _WORST:
            break
    return listed


def log_tail(path: Path) -> str:
    """Return the last lines of a log without control signs; empty if there is none."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - _TAIL_BYTES))
            content = file.read(_TAIL_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = [format_.printable(line.expandtabs(4)) for line in content.splitlines()]
    return "\n".join(lines[-_TAIL_LINES:])


def _facts(scene: Scene, index: int) -> list[Fact]:
    row = scene.rows[index]
    group = next(iter(scene.challenge.label_groups))
    place = "out of competition" if row.rank is None else f"{row.rank} of {scene.ranked}"
    interval = format_.rank_interval(row.rank_low, row.rank_high)
    percent = f"{100 * scene.leaderboard.confidence:g} %"
    return [
        ("rank", place, f"{percent} interval {interval}" if interval else ""),
        (
            f"DSC {group}",
            f"{format_.score(row.dsc.get(group))} %",
            f"NSD {format_.score(row.nsd.get(group))} %",
        ),
        (
            "median run time",
            format_.seconds(row.runtime_median_s),
            f"95 % within {format_.seconds(row.runtime_p95_s)}",
        ),
        (
            "peak memory",
            format_.size(row.peak_memory_bytes),
            f"GPU {format_.size(row.peak_gpu_memory_bytes)}",
        ),
        ("failed cases", f"{row.failed} of {row.cases}", ", ".join(_endings(row.outcomes))),
    ]


def _notes(scene: Scene, index: int) -> list[str]:
    row = scene.rows[index]
    notes = [
        f"Not ranked: {metric_title(item.metric)}, because {item.reason}." for item in scene.division.left_out
    ]
    return notes + [f"This row {_MARKED[mark]}." for mark in row.marks]


def _endings(outcomes: Mapping[str, int]) -> list[str]:
    return [f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items() if name != "succeeded"]


def _number(scene: Scene, index: int, metric: Metric) -> tuple[str, str, str, str, str]:
    row = scene.rows[index]
    known = [value for other in scene.rows if (value := other.metrics.get(metric.key)) is not None]
    best = None if not known else max(known) if metric.direction.value == "higher" else min(known)
    part = row.metric_scores.get(metric.key)
    return (
        metric_title(metric),
        _shown(metric, row.metrics.get(metric.key)),
        _shown(metric, best),
        "–" if part is None else f"{part:.3f}",
        _shown(metric, metric.failed),
    )


def _shown(metric: Metric, value: float | None) -> str:
    if metric.metric in ABOUT_LABELS:
        return "–" if value is None else f"{format_.score(value)} %"
    if metric.metric is MetricName.RUNTIME_S:
        return format_.seconds(value)
    if metric.metric is MetricName.GPU_MEMORY_AUC_BYTE_S:
        return format_.byte_seconds(value)
    if metric.metric is MetricName.CPU_UTILISATION_AUC_PERCENT_S:
        return "–" if value is None else f"{value:,.0f} % s"
    return format_.size(value)


def _organs(scene: Scene, index: int) -> list[tuple[str, list[float | None]]]:
    row = scene.rows[index]
    lines = []
    for label in scene.challenge.labels:
        cells: list[float | None] = []
        for table in ("organ_dsc", "organ_nsd"):
            known = [
                value for other in scene.rows if (value := getattr(other, table)[label.name]) is not None
            ]
            cells += [getattr(row, table)[label.name], max(known, default=None)]
        lines.append((label.name, cells))
    return lines


def _logs(scene: Scene, index: int, worst: list[WorstCase]) -> list[tuple[str, str, str]]:
    """Return the log tails of failed cases, then of the worst ones."""
    folder = scene.runs[index].folder / "cases"
    lost = [item for item in worst if item.outcome != "succeeded"]
    rest = [item for item in worst if item.outcome == "succeeded"]
    tails = []
    for item in [*lost, *rest]:
        if tail := log_tail(folder / item.case / "container.log"):
            tails.append((item.case, item.outcome, tail))
        if len(tails) == _LOGS:
            break
    return tails


def _reproduce(scene: Scene, index: int) -> list[Pair]:
    division = scene.division
    return [("data set", division.dataset), ("fingerprint", division.fingerprint), *run_facts(scene, index)]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
