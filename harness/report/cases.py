"""Figures of single cases: outcomes, difficulty, and why cases failed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from harness import text as format_
from harness.leaderboard.values import MISSING, OUTCOMES
from harness.report.axes import floor_of, percent
from harness.report.evidence import last_executions
from harness.report.scene import Figure, Scene, row_height, score
from harness.report.svg import Linear, Svg, short, y_axis
from harness.results.records import ExecutionRecord

_NAMES = 190.0
_WIDTH = 1220.0
_MOST_FAILURES = 400
_SUSPECT_BELOW = 0.5
SIGNS = {
    "time_limit": "T",
    "memory_limit": "M",
    "gpu_memory_limit": "G",
    "output_limit": "O",
    "crashed": "C",
    "no_output": "N",
    "invalid_output": "I",
    "start_failed": "S",
    "infrastructure": "H",
    "missing": "?",
    "unscored": "U",
}
"""The sign of each outcome in the grid; see `sign_of`."""


@dataclass(frozen=True)
class Failure:
    """One case that failed, with what is known of it."""

    index: int
    team: str
    case: str
    outcome: str
    summary: str
    exit_code: str
    limit: str
    last_line: str


def case_figures(scene: Scene) -> list[Figure]:
    """Return the figures of cases: single ones for the organiser, sums for a participant."""
    if not scene.shows_cases:
        return [outcome_bars(scene)]
    figures = [outcome_grid(scene)]
    if scene.scores_cases and len(scene.division.cases) > 1:
        figures.append(difficulty(scene))
    return figures


def sign_of(outcome: str) -> str:
    """Return an outcome's sign in the grid; its first letter, as a small one, where it has none."""
    return SIGNS.get(outcome, outcome[:1].lower())


def outcome_name(scene: Scene, case: int, row: int) -> str:
    """Return how a case ended: an outcome, `missing`, or `unscored`."""
    run = scene.runs[row]
    if run.succeeded[case]:
        return "succeeded"
    if run.outcomes[case] == MISSING:
        return "missing"
    name = OUTCOMES[run.outcomes[case]].value
    return "unscored" if name == "succeeded" else name


def outcome_grid(scene: Scene) -> Figure:
    """Draw every case of every method: its score's shade, or the sign of its failure."""
    cases, rows = scene.failed.shape
    scores = scene.case_scores
    height = row_height(rows)
    step = min(26.0, (_WIDTH - _NAMES - 10) / max(cases, 1))
    top = 14.0
    svg = Svg(_WIDTH, top + height * rows + 44, label="Outcome of every case, a line per method")
    known = scores[~np.isnan(scores) & ~scene.failed]
    edges = np.quantile(known, [0.05, 0.25, 0.5, 0.75]) if len(known) else np.zeros(4)
    shade = np.digitize(np.nan_to_num(scores), edges)
    signs: Counter[str] = Counter()
    for row in range(rows):
        y = top + height * row
        svg.name(_NAMES - 8, y + height / 2 + 4, scene.rows[row].team, "end name", data_t=row)
        for level in range(5):
            chosen = np.flatnonzero((shade[:, row] == level) & ~scene.failed[:, row])
            if len(chosen):
                d = "".join(_square(_NAMES + step * case, y, step, height) for case in chosen)
                svg.shape(d, f"ok{level}", data_t=row)
        for case in map(int, np.flatnonzero(scene.failed[:, row])):
            name = outcome_name(scene, case, row)
            signs[name] += 1
            x = _NAMES + step * case
            tip = f"{scene.rows[row].team}, {scene.division.cases[case]}: {name}"
            svg.rect(x, y, max(step - 1, 0.6), height - 1, "bad", tip=tip, data_t=row)
            if step >= 9:
                svg.text(x + step / 2 - 0.5, y + height / 2 + 4, sign_of(name), "sign")
    for case in _case_ticks(cases):
        svg.text(_NAMES + step * (case + 0.5), top + height * rows + 15, str(case + 1), "tick mid")
    svg.text(_NAMES, top + height * rows + 34, "case, in the order of the data set", "tick")
    legend = ", ".join(
        f"{sign_of(name)} {name.replace('_', ' ')} ({count})" for name, count in signs.most_common()
    )
    said = f"Red: {legend}." if signs else "No case failed."
    return Figure(
        "outcomes",
        "What happened to every case?",
        f"{said} Otherwise the stronger the colour, the better the case's mean score "
        f"(steps at {', '.join(percent(float(edge)) for edge in edges)} %).",
        svg.markup(),
        wide=True,
    )


def outcome_bars(scene: Scene) -> Figure:
    """Draw how many cases of each method ended how, without saying which."""
    height = row_height(len(scene.rows))
    total = max(len(scene.division.cases), 1)
    scale = Linear(0, total, _NAMES, _WIDTH - 460)
    svg = Svg(_WIDTH, height * len(scene.rows) + 20, label="Number of cases by outcome, a line per method")
    for index, row in enumerate(scene.rows):
        y = height * index + 4
        svg.name(_NAMES - 8, y + height / 2 + 3, row.team, "end name", data_t=index)
        good = row.cases - row.failed
        svg.rect(scale(0), y, scale(good) - scale(0), height - 3, "ok3", data_t=index)
        svg.rect(scale(good), y, scale(row.cases) - scale(good), height - 3, "bad", data_t=index)
        failures = ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in row.outcomes.items() if name != "succeeded"
        )
        svg.text(scale(total) + 8, y + height / 2 + 3, short(failures or "all succeeded", 64), "tick")
    return Figure(
        "outcomes",
        "How many cases succeeded, and how did the others end?",
        "Green: succeeded; red: failed, and counted with the challenge's value.",
        svg.markup(),
        wide=True,
    )


def difficulty(scene: Scene) -> Figure:
    """Draw the cases from the hardest to the easiest, with the spread of the ranked methods."""
    ranked = scene.ranked or len(scene.rows)
    scores = scene.case_scores[:, :ranked]
    counted = np.flatnonzero(~np.isnan(scores).any(axis=1))
    order = counted[np.argsort(np.median(scores[counted], axis=1), kind="stable")]
    left, top, bottom = 46.0, 18.0, 300.0
    x = Linear(-0.5, max(len(order), 1) - 0.5, left, _WIDTH - 16)
    floor = floor_of(scores[counted], scene.failed[counted, :ranked])
    y = Linear(floor, 1, bottom, top)
    svg = Svg(_WIDTH, bottom + 84, label="Scores of every case over the methods, hardest case first")
    y_axis(svg, y, left, _WIDTH - 16, percent)
    suspects = []
    for place, case in enumerate(order):
        values = scores[case]
        low, middle, high = float(values.min()), float(np.median(values)), float(values.max())
        suspect = high < _SUSPECT_BELOW
        name = scene.division.cases[case]
        if suspect:
            suspects.append(name)
        kind = " suspect" if suspect else ""
        tip = f"{name}: best {score(high)}, median {score(middle)}, worst {score(low)}"
        svg.line(x(place), y(max(low, floor)), x(place), y(max(high, floor)), f"span{kind}", tip=tip)
        svg.dots([(x(place), y(max(middle, floor)))], f"mid case{kind}")
        if suspect or len(order) <= 40:
            svg.name(
                x(place) + 4,
                bottom + 12,
                name,
                "end name",
                transform=f"rotate(-45 {x(place):.1f} {bottom + 12})",
            )
    warned = (
        f" In {len(suspects)} of them no method reaches {percent(_SUSPECT_BELOW)} %: suspect the reference."
        if suspects
        else f" In each of them some method reaches {percent(_SUSPECT_BELOW)} %."
    )
    return Figure(
        "difficulty",
        "Which cases are hard for everyone?",
        "Mean score of each case in percent, from the hardest to the easiest: the line runs from the worst "
        f"ranked method to the best, the dot is the median; what lies below the axis is "
        f"drawn at its start.{warned}",
        svg.markup(),
        wide=True,
    )


def own_cases(scene: Scene, index: int) -> Figure:
    """Draw one method's score in every case beside the median of all methods, hardest case first."""
    scores = scene.case_scores
    counted = np.flatnonzero(~np.isnan(scores).any(axis=1))
    middle = np.median(scores[counted], axis=1)
    order = counted[np.argsort(middle, kind="stable")]
    floor = floor_of(scores[counted], scene.failed[counted])
    left, top, bottom = 46.0, 16.0, 250.0
    x = Linear(-0.5, max(len(order), 1) - 0.5, left, _WIDTH - 16)
    y = Linear(floor, 1, bottom, top)
    svg = Svg(_WIDTH, bottom + 84, label="Scores of every case beside the median of all methods")
    y_axis(svg, y, left, _WIDTH - 16, percent)
    svg.path(
        [(x(place), y(max(float(np.median(scores[case])), floor))) for place, case in enumerate(order)],
        "field",
    )
    for place, case in enumerate(order):
        own, lost = float(scores[case, index]), bool(scene.failed[case, index])
        name = scene.division.cases[case]
        tip = f"{name}: {score(own)}, median of all {score(float(np.median(scores[case])))}"
        kind = "point lost" if lost else f"point {scene.colour(index)}"
        svg.circle(x(place), y(max(own, floor)), 4 if len(order) <= 100 else 2.5, kind, tip=tip)
        if len(order) <= 40:
            svg.name(
                x(place) + 4,
                bottom + 14,
                name,
                "end name",
                transform=f"rotate(-45 {x(place):.1f} {bottom + 14})",
            )
    return Figure(
        "cases",
        "Where is this method behind or ahead of the others?",
        "Mean score of each case in percent (dot; red: failed, and counted with the challenge's value) "
        "and the median of all methods (line), from the hardest case to the easiest. What lies below the "
        "axis is drawn at its start.",
        svg.markup(),
        wide=True,
    )


def failures(scene: Scene, *, only: int | None = None) -> tuple[list[Failure], int]:
    """List the failed cases with their evidence, of all rows or only one, and count them all."""
    listed: list[Failure] = []
    rows = range(len(scene.rows)) if only is None else [only]
    total = int(scene.failed[:, list(rows)].sum())
    for row in rows:
        lost = np.flatnonzero(scene.failed[:, row])[: _MOST_FAILURES - len(listed)]
        names = {scene.division.cases[case] for case in lost}
        final = last_executions(scene.runs[row].folder, names)
        listed += [_failure(scene, row, int(case), final.get(scene.division.cases[case])) for case in lost]
    return listed, total


def _failure(scene: Scene, row: int, case: int, record: ExecutionRecord | None) -> Failure:
    evidence = record.evidence if record is not None else None
    limit = ""
    if evidence is not None and evidence.limit is not None:
        value = "" if evidence.value is None else f" (seen {_number(evidence.value)})"
        limit = f"{_number(evidence.limit)}{value}"
    return Failure(
        index=row,
        team=scene.rows[row].team,
        case=scene.division.cases[case],
        outcome=outcome_name(scene, case, row).replace("_", " "),
        summary=evidence.summary if evidence is not None else "no record of this case",
        exit_code="" if evidence is None or evidence.exit_code is None else str(evidence.exit_code),
        limit=limit,
        last_line=evidence.last_log_line if evidence is not None else "",
    )


def _number(value: float) -> str:
    return format_.size(value) if value >= 1024**2 else f"{value:,.4g}"


def _square(x: float, y: float, width: float, height: float) -> str:
    gap = 1 if width > 4 else 0.3
    return f"M{x:.1f} {y:.1f}h{width - gap:.1f}v{height - 1:.1f}h-{width - gap:.1f}z"


def _case_ticks(cases: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if cases / step <= 25)
    return [0, *range(step - 1, cases, step)] if step > 1 else list(range(cases))
