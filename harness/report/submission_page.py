"""What the page of one submission shows, for its team."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness import text as format_
from harness.challenge import Metric
from harness.challenge.metrics import heading_unit, is_fraction, shown_value, with_unit
from harness.challenge.model import column_name
from harness.leaderboard import Row
from harness.leaderboard.columns import PENALTY, organ_columns
from harness.leaderboard.model import MARKS
from harness.report.case_page import Gallery
from harness.report.cases import outcome_name, own_cases
from harness.report.failures import failures, hidden_logs, log_tail
from harness.report.index_page import Fact, Pair, run_facts
from harness.report.resources import peak_memory_bytes
from harness.report.scene import Figure, Scene

_MARKED = {
    "incomplete": "is of an incomplete run; cases without a verdict count as failed",
    "predictions": "scores predictions; nothing was run, so there is no time or memory",
    "imported": "is imported from others' tables; nothing of it was measured or scored here",
    "requires_root": "ran as root",
    "writable_root": "had a writable root file system",
    "writable_inputs": "had a private copy of the inputs that it could write to",
    "not_isolated": "ran without isolation",
    "lower_bound": "has a peak memory that was sampled: the true one may be higher",
}
_WORST = 25
_LOGS = 5


@dataclass(frozen=True)
class WorstCase:
    """One case in the list of a submission's worst; a failed one's score is what the challenge charges."""

    case: str
    score: float
    field: float
    organs: str
    runtime_s: float | None
    memory_bytes: float | None
    outcome: str
    failed: bool


def submission_page(scene: Scene, index: int, gallery: Gallery) -> dict[str, Any]:
    """Return a submission page's values for its template.

    Args:
        scene: The division.
        index: The row.
        gallery: What was looked at of the cases.
    """
    row = scene.rows[index]
    own, lost = failures(scene, only=index)
    worst: list[WorstCase] = []
    logs: list[tuple[str, str, str]] = []
    figures: list[Figure] = []
    if scene.shows_cases:
        if scene.scores_cases and len(scene.division.cases) > 1:
            figures.append(own_cases(scene, index))
        worst = worst_first(scene, index)
        logs = _logs(scene, index, worst)
    else:
        logs = list(hidden_logs(scene, index))
    drawn = [item for key, item in gallery.pictures.items() if key[0] == index]
    return {
        "title": f"{row.team}: {scene.challenge.title}",
        "row": row,
        "penalty": PENALTY,
        "division": scene.division,
        "facts": _facts(scene, index),
        "notes": _notes(scene, index),
        "numbers": [_number(scene, index, metric) for metric in scene.leaderboard.scheme.metrics],
        "organ_headings": _organ_headings(scene),
        "organs": _organs(scene, index),
        "figures": figures,
        "failed": own,
        "lost": lost,
        "outcomes": [(name.replace("_", " "), str(count)) for name, count in row.outcomes.items()],
        "worst": worst,
        "gallery": sorted(drawn, key=lambda item: item.score),
        "case_links": {
            look.case: f"../{gallery.links[look.case]}#m={index}"
            for look in gallery.looks
            if index in look.packed.predictions
        },
        "logs": logs,
        "reproduce": _reproduce(scene, index),
    }


def worst_first(scene: Scene, index: int) -> list[WorstCase]:
    """List a submission's cases by their mean score, the worst first."""
    scores = scene.case_scores
    organs = _Organs(scene, index)
    run = scene.runs[index]
    memory = run.resource("peak_working_set_bytes")
    memory = np.where(np.isnan(memory), run.resource("peak_memory_bytes"), memory)
    listed = []
    for case in map(int, np.argsort(scores[:, index], kind="stable")):
        if np.isnan(scores[case, index]):
            continue
        listed.append(
            WorstCase(
                case=scene.division.cases[case],
                score=float(scores[case, index]),
                field=float(np.nanmedian(scores[case])),
                organs=organs.worst(case) if run.succeeded[case] else "",
                runtime_s=_known(run.resource("runtime_s")[case]),
                memory_bytes=_known(memory[case]),
                outcome=outcome_name(scene, case, index).replace("_", " "),
                failed=not bool(run.succeeded[case]),
            )
        )
        if len(listed) == _WORST:
            break
    return listed


class _Organs:
    """A submission's organs in single cases, by the metric that stands for accuracy."""

    def __init__(self, scene: Scene, index: int) -> None:
        self._facts = scene.label_facts[0] if scene.label_facts else None
        self._names = [label.name for label in scene.challenge.labels]
        if self._facts is not None:
            self._scores = scene.label_cases(index, self._facts.key)

    def worst(self, case: int, most: int = 3) -> str:
        """Return a case's worst organs with their scores."""
        if self._facts is None:
            return ""
        scores = self._scores[case]
        order = np.argsort(scores if is_fraction(self._facts) else -scores)
        known = [int(label) for label in order if not np.isnan(scores[label])]
        return ", ".join(f"{self._names[label]} {self._shown(scores[label])}" for label in known[:most])

    def _shown(self, value: float) -> str:
        assert self._facts is not None
        return f"{100 * value:.1f}" if self._facts.percent else shown_value(self._facts, value)


def _facts(scene: Scene, index: int) -> list[Fact]:
    row = scene.rows[index]
    place = "out of competition" if row.rank is None else f"{row.rank} of {scene.ranked}"
    interval = format_.rank_interval(row.rank_low, row.rank_high)
    percent = f"{100 * scene.leaderboard.confidence:g} %"
    return [
        ("rank", place, f"{percent} interval {interval}" if interval else ""),
        *_accuracy(scene, row),
        (
            "median run time",
            format_.seconds(row.cells["runtime_median_s"]),
            f"95 % within {format_.seconds(row.cells['runtime_p95_s'])}",
        ),
        (
            "peak memory",
            format_.size(peak_memory_bytes(row)),
            f"with the file cache {format_.size(row.cells['peak_memory_bytes'])}, "
            f"GPU {format_.size(row.cells['peak_gpu_memory_bytes'])}",
        ),
        ("failed cases", f"{row.failed} of {row.cases}", ", ".join(_endings(row.outcomes))),
    ]


def _accuracy(scene: Scene, row: Row) -> list[Fact]:
    """Return the first group's means, of the metric that stands for accuracy and of the others."""
    means = [
        (facts.title, with_unit(facts, row.cells[f"{facts.column}_{column_name(scene.group)}"]))
        for facts in scene.label_facts
    ]
    if not means:
        return []
    (title, value), *others = means
    return [(f"{title} {scene.group}", value, ", ".join(f"{other} {value}" for other, value in others))]


def _notes(scene: Scene, index: int) -> list[str]:
    row = scene.rows[index]
    notes = [f"Not ranked: {item.metric.title}, because {item.reason}." for item in scene.division.left_out]
    return notes + [f"This row {_MARKED.get(mark, MARKS[mark][1])}." for mark in row.marks]


def _endings(outcomes: Mapping[str, int]) -> list[str]:
    return [f"{count} {name.replace('_', ' ')}" for name, count in outcomes.items() if name != "succeeded"]


def _number(scene: Scene, index: int, metric: Metric) -> tuple[str, str, str, str, str]:
    row = scene.rows[index]
    known = [value for other in scene.rows if (value := other.metrics.get(metric.key)) is not None]
    best = None if not known else max(known) if metric.direction.value == "higher" else min(known)
    part = row.metric_scores.get(metric.key)
    return (
        metric.title,
        _charged(with_unit(metric.facts, row.metrics.get(metric.key)), lost=bool(row.failed)),
        with_unit(metric.facts, best),
        "–" if part is None else f"{part:.3f}",
        with_unit(metric.facts, metric.failed),
    )


def _charged(shown: str, *, lost: bool) -> str:
    """Mark a number that holds what failed cases are charged."""
    return f"{shown}{PENALTY}" if lost and shown != "–" else shown


def _organ_headings(scene: Scene) -> list[str]:
    headings = [" ".join(filter(None, (facts.title, heading_unit(facts)))) for facts in scene.label_facts]
    return [text for heading in headings for text in (heading, f"best {heading}")]


def _organs(scene: Scene, index: int) -> list[tuple[str, list[tuple[float | None, str]]]]:
    """Return each organ's own and best mean by each metric, raw and as shown."""
    lines: dict[str, list[tuple[float | None, str]]] = {label.name: [] for label in scene.challenge.labels}
    for facts in scene.label_facts:
        for column in organ_columns(scene.challenge, facts):
            for value in (column.of(scene.rows[index]), column.best(scene.rows)):
                lines[column.title].append((value, column.shown(value)))
    return list(lines.items())


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
