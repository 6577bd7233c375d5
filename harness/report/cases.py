"""Figures of single cases: outcomes and difficulty."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
from markupsafe import Markup

from harness.challenge.metrics import is_fraction
from harness.leaderboard.values import MISSING, OUTCOMES
from harness.report.axes import floor_of, percent
from harness.report.compare import difference
from harness.report.marks import name_column, scrolled
from harness.report.scene import Figure, Scene, row_height
from harness.report.svg import Linear, Svg, short, y_axis
from harness.text import score

_NAMES = 150.0
_WIDTH = 1100.0
_LEAST_WIDTH = 620.0
_CASE_WIDTH = 24.0
_STEPS = (0.05, 0.3, 0.5, 0.7, 0.85, 0.95)
"""Where the shade of a case's mean score changes: the same for every report, whatever the methods reach."""
_SUSPECT_SHARE = 0.5
_SUSPECT_METHODS, _SUSPECT_CASES = 3, 10
"""Fewer methods or cases say nothing about a reference."""
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


def case_figures(scene: Scene) -> list[Figure]:
    """Return the figures of cases: single ones for the organiser, sums for a participant."""
    if not scene.shows_cases:
        return [outcome_bars(scene)]
    figures = [outcome_grid(scene)]
    if scene.scores_cases and len(scene.division.cases) > 1:
        figures.append(difficulty(scene))
    compared = difference(scene)
    return figures if compared is None else [*figures, compared]


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
    height, top = row_height(rows), 14.0
    step = min(34.0, (_WIDTH - _NAMES - 10) / max(cases, 1))
    svg = Svg(
        _NAMES + max(step * cases, 240) + 10,
        top + height * rows + 44,
        label="Outcome of every case, a line per method",
    )
    name_column(svg, (row.team for row in scene.rows), right=_NAMES - 8, top=top, height=height)
    shade = np.digitize(np.nan_to_num(scores), _STEPS)
    signs: Counter[str] = Counter()
    for row in range(rows):
        y = top + height * row
        for level in range(len(_STEPS) + 1):
            chosen = np.flatnonzero((shade[:, row] == level) & ~scene.failed[:, row])
            if len(chosen):
                d = "".join(_square(_NAMES + step * case, y, step, height) for case in chosen)
                svg.shape(d, f"ok ok{level}", data_t=row)
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
        f"{said} Otherwise the shade says how good the case's mean score is, on a fixed scale; white with a "
        "grey rim achieved next to nothing.",
        scrolled(svg) + _shades(),
        wide=True,
    )


def _shades() -> Markup:
    """Explain the shades of the outcome grid."""
    ends = [0.0, *_STEPS, 1.0]
    said = [f"{percent(low)}–{percent(high)} %" for low, high in itertools.pairwise(ends)]
    items = "".join(f'<li><i class="ok{level}"></i>{words}</li>' for level, words in enumerate(said))
    return Markup(f'<ul class="shades">{items}</ul>')


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
        svg.rect(scale(0), y, scale(good) - scale(0), height - 3, "ok ok5", data_t=index)
        svg.rect(scale(good), y, scale(row.cases) - scale(good), height - 3, "bad", data_t=index)
        failures = ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in row.outcomes.items() if name != "succeeded"
        )
        svg.text(scale(total) + 8, y + height / 2 + 3, short(failures or "all succeeded", 64), "tick")
    return Figure(
        "outcomes",
        "How many cases succeeded, and how did the others end?",
        "Blue: ran to its end; red: failed, and counted with the challenge's value.",
        scrolled(svg),
        wide=True,
    )


def difficulty(scene: Scene) -> Figure:
    """Draw the cases from the hardest to the easiest, with the spread of the ranked methods."""
    ranked = scene.ranked or len(scene.rows)
    scores = scene.case_scores[:, :ranked]
    counted = np.flatnonzero(~np.isnan(scores).any(axis=1))
    order = counted[np.argsort(np.median(scores[counted], axis=1), kind="stable")]
    left, top, bottom = 46.0, 18.0, 300.0
    width = min(_WIDTH, max(_LEAST_WIDTH, left + 16 + _CASE_WIDTH * len(order)))
    x = Linear(-0.5, max(len(order), 1) - 0.5, left, width - 16)
    floor = floor_of(scores[counted], scene.failed[counted, :ranked])
    y = Linear(floor, 1, bottom, top)
    svg = Svg(width, bottom + 84, label="Scores of every case over the methods, hardest case first")
    y_axis(svg, y, left, width - 16, percent)
    suspected = suspects(scene)
    for place, case in enumerate(order):
        values = scores[case]
        low, middle, high = float(values.min()), float(np.median(values)), float(values.max())
        suspect = int(case) in suspected
        name = scene.division.cases[case]
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
    listed = ", ".join(scene.division.cases[case] for case in suspected)
    warned = (
        f" In {listed} no method reaches half of what it usually does in the {scene.group}: look at the "
        "reference too."
        if suspected
        else ""
    )
    return Figure(
        "difficulty",
        "Which cases are hard for everyone?",
        "Mean score of each case in percent, from the hardest to the easiest: the line runs from the worst "
        f"ranked method to the best, the dot is the median; what lies below the axis is "
        f"drawn at its start.{warned}",
        scrolled(svg),
        wide=True,
    )


def suspects(scene: Scene) -> list[int]:
    """Return the cases in which every method falls far below what it usually does.

    Only the first group of labels is looked at: a tumour that all miss says nothing about its reference. With
    few methods or cases, or where no method is any good, nothing is suspected.
    """
    facts = next((facts for facts in scene.label_facts if is_fraction(facts)), None)
    runs = scene.runs[: scene.ranked or len(scene.runs)]
    if facts is None or len(runs) < _SUSPECT_METHODS or len(scene.division.cases) < _SUSPECT_CASES:
        return []
    values = np.stack([scene.counting.group_values(run, facts.key, scene.group) for run in runs], axis=1)
    usual = np.nanmedian(np.where(np.isnan(values).all(axis=0), 0.0, values), axis=0)
    good = usual >= _SUSPECT_SHARE
    if good.sum() < _SUSPECT_METHODS:
        return []
    far = (values[:, good] < _SUSPECT_SHARE * usual[good]).all(axis=1)
    return [int(case) for case in np.flatnonzero(far)]


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
        scrolled(svg),
        wide=True,
    )


def _square(x: float, y: float, width: float, height: float) -> str:
    gap = 1 if width > 4 else 0.3
    return f"M{x:.1f} {y:.1f}h{width - gap:.1f}v{height - 1:.1f}h-{width - gap:.1f}z"


def _case_ticks(cases: int) -> list[int]:
    step = next(step for step in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if cases / step <= 25)
    return [0, *range(step - 1, cases, step)] if step > 1 else list(range(cases))
