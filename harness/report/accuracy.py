"""Figures of accuracy: the cases of every method, and every label's mean as one map with a switch."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup, escape

from evaluator.labels import Label
from evaluator.metrics import MetricFacts
from harness.challenge import Metric
from harness.challenge.metrics import is_fraction, shown_value
from harness.leaderboard.columns import organ_columns
from harness.report.axes import Axis, axis_of, percent, unit_after, unit_in_words
from harness.report.marks import (
    Line,
    box,
    diamond,
    heat_legend,
    heat_position,
    name_column,
    panel_grid,
    strip,
    tabs,
)
from harness.report.scene import Figure, Scene, row_height
from harness.report.svg import Linear, Svg, x_axis
from harness.text import printable

_NAMES = 124.0
_PANEL = 340.0
_MOST_DOTS = 40_000
"""Beyond this many cases a figure shows boxes alone, or the page would not scroll."""

_LONGEST_WORD = 14
"""Letters of a label's name that its column has room for; longer words break."""


def accuracy_figures(scene: Scene) -> list[Figure]:
    """Return the figures of accuracy."""
    figures = [boxes(scene)] if scene.score_metrics else []
    return [*figures, heat_map(scene)] if scene.label_facts else figures


def boxes(scene: Scene) -> Figure:
    """Draw every method's distribution over the cases, a panel per metric."""
    metrics = scene.score_metrics
    dotted = scene.shows_cases and scene.failed.size * len(metrics) <= _MOST_DOTS
    panels = [_panel(scene, metric, dotted=dotted) for metric in metrics]
    dots = " Each dot is a case; a cross is one that failed and counts with the challenge's value."
    all_fractions = all(is_fraction(metric.facts) for metric in metrics)
    beyond = "below an axis is drawn at its start" if all_fractions else "beyond an axis is drawn at its end"
    return Figure(
        "distribution",
        "How much do the methods vary from case to case?",
        "Box: the middle half of the cases; line: the median; diamond: the mean; whiskers: 5 % to 95 %; what "
        f"lies {beyond}.{dots if dotted else ''}",
        panel_grid(panels, least=280),
        wide=True,
    )


def _panel(scene: Scene, metric: Metric, *, dotted: bool) -> Svg:
    values = scene.metric_cases(metric)
    axis = axis_of(metric.facts, values, scene.failed)
    top, height = 26.0, row_height(len(scene.rows)) * 1.25
    bottom = top + height * len(scene.rows)
    title = f"{metric.title}{unit_after(metric.facts)}"
    svg = Svg(_PANEL, bottom + 24, label=f"Distribution of {title} over the cases, a line per method")
    scale = Linear(axis.low, axis.high, _NAMES + 12, _PANEL - 22)
    svg.text(_NAMES + 10, top - 10, title, "head")
    x_axis(svg, scale, top, bottom, axis.tick)
    name_column(svg, (row.team for row in scene.rows), right=_NAMES, top=top, height=height)
    for row in range(len(scene.rows)):
        known = ~np.isnan(values[:, row])
        cases = axis.held(values[known, row])
        if not len(cases):
            continue
        line, mine = Line(top + height * (row + 0.5), height), scene.mine(row)
        if dotted:
            strip(svg, scale, line, cases, scene.failed[known, row], mine)
        five = np.quantile(cases, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
        mean = float(values[known, row].mean())
        tip = f"{len(cases)} cases, median {axis.value(five[2])}, mean {axis.value(mean)}, middle half "
        box(svg, scale, line, five, mine, tip=f"{tip}{axis.value(five[1])} to {axis.value(five[3])}")
        diamond(svg, scale(axis.at(mean)), line.middle, mine)
    return svg


def heat_map(scene: Scene) -> Figure:
    """Lay out every method's mean score of every label, coloured: one metric at a time."""
    options = [(facts.title, _heat_table(scene, facts)) for facts in scene.label_facts]
    metrics = " or ".join(f"{facts.title}{unit_in_words(facts)}" for facts in scene.label_facts)
    return Figure(
        "organs",
        f"Which organs are hard, and for whom ({', '.join(facts.title for facts in scene.label_facts)})?",
        f"Mean {metrics} over the cases that annotate the organ, failed ones included. Blue is good, orange "
        "is bad; the colour scale below runs over the whole range. Underlined: the organ's best.",
        tabs(f"heat-{scene.anchor}", options),
        wide=True,
    )


def _heat_table(scene: Scene, facts: MetricFacts) -> Markup:
    columns = organ_columns(scene.challenge, facts)
    used = [
        (label, column)
        for label, column in zip(scene.challenge.labels, columns, strict=True)
        if any(column.of(row) is not None for row in scene.rows)
    ]
    cells = np.array([[_number(column.of(row)) for _, column in used] for row in scene.rows])
    axis = _whole_axis(facts, cells)
    best = [column.best(scene.rows) for _, column in used]
    body = []
    for row, line in enumerate(cells):
        fair = [
            column.can_be_best(scene.rows[row]) and value == best[place]
            for place, ((_, column), value) in enumerate(zip(used, line, strict=True))
        ]
        tds = "".join(_cell(facts, axis, value, best=fair[place]) for place, value in enumerate(line))
        team = escape(printable(scene.rows[row].team))
        body.append(f'<tr data-t="{row}"><th scope="row" class="team">{team}</th>{tds}</tr>')
    head = "".join(_organ_heading(label) for label, _ in used)
    word = max((len(word) for label, _ in used for word in label.name.split()), default=0)
    column = max(3.1, 0.37 * min(word, _LONGEST_WORD) + 0.48)
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="Scores by organ">'
        f'<table class="sortable heat" style="--least:{10 + column * len(used):.1f}rem; '
        f'--most:{12 + 9 * len(used)}rem"><thead><tr>'
        '<th scope="col" class="team">'
        f'<button type="button">method</button></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>{heat_legend(axis, fraction=is_fraction(facts))}"
    )


def _whole_axis(facts: MetricFacts, cells: np.ndarray) -> Axis:
    def shown(value: float) -> str:
        return shown_value(facts, value)

    if is_fraction(facts):
        return Axis(0.0, 1.0, percent, shown)
    finite = cells[np.isfinite(cells)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return Axis(min(low, 0.0), high if high > low else low + 1.0, lambda value: f"{value:.3g}", shown)


def _organ_heading(label: Label) -> str:
    """Return a label's heading, underlined with its colour where the challenge names one."""
    style = f' style="border-bottom: 3px solid {escape(label.colour)}"' if label.colour else ""
    return f'<th scope="col"{style}><button type="button">{escape(label.name)}</button></th>'


def _cell(facts: MetricFacts, axis: Axis, value: float, *, best: bool) -> str:
    if np.isnan(value):
        return '<td data-v="">–</td>'
    share = (axis.at(value) - axis.low) / (axis.high - axis.low)
    depth = (
        heat_position(value) if is_fraction(facts) else share if facts.direction == "higher" else 1 - share
    )
    classes = "best" if best else ""
    classes += " light" if depth > 0.82 or depth < 0.1 else ""
    named = f' class="{classes.strip()}"' if classes else ""
    shown = f"{100 * value:.1f}" if facts.percent else shown_value(facts, value)
    return f'<td data-v="{value:.6f}" style="--d:{100 * depth:.0f}%"{named}>{shown}</td>'


def _number(value: float | None) -> float:
    return np.nan if value is None else value
