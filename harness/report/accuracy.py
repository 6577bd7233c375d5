"""Figures of accuracy: dots and boxes per method, organs as a heat map and as small multiples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from evaluator.labels import Label
from evaluator.metrics import MetricFacts
from harness.challenge import Metric
from harness.challenge.metrics import is_fraction, shown_value
from harness.leaderboard.columns import organ_columns
from harness.leaderboard.values import Bools, Floats
from harness.report.axes import Axis, axis_of, percent, unit_after, unit_in_words
from harness.report.scene import Figure, Scene, row_height
from harness.report.svg import Linear, Svg, short, x_axis, y_axis
from harness.text import printable

_NAMES = 190.0
_PANEL = 280.0
_MOST_DOTS = 20_000
"""Beyond this many cases a figure shows boxes alone, or the page would not scroll."""


def accuracy_figures(scene: Scene) -> list[Figure]:
    """Return the figures of accuracy."""
    figures = []
    if scene.score_metrics:
        figures.append(boxes(scene))
    figures += [organ_table(scene, facts) for facts in scene.label_facts]
    if scene.label_facts:
        figures.append(organ_multiples(scene, scene.label_facts[0]))
    return figures


def boxes(scene: Scene) -> Figure:
    """Draw every method's distribution over the cases, a panel per metric."""
    metrics = scene.score_metrics
    columns = min(len(metrics), 4)
    lines = -(-len(metrics) // columns)
    height = row_height(len(scene.rows))
    panel_height = height * len(scene.rows) + 56
    dotted = scene.shows_cases and scene.failed.size * len(metrics) <= _MOST_DOTS * 2
    titles = ", ".join(metric.title for metric in metrics)
    svg = Svg(
        _NAMES + columns * _PANEL,
        lines * panel_height,
        label=f"Distribution of {titles} over the cases, a line per method",
    )
    for index, metric in enumerate(metrics):
        left = _NAMES + (index % columns) * _PANEL
        top = (index // columns) * panel_height + 26
        _panel(scene, svg, metric, left, top, height, dotted=dotted, named=index % columns == 0)
    dots = (
        " Each dot is a case; a cross marks cases that failed and count with the challenge's value."
        if dotted
        else ""
    )
    beyond = (
        "below an axis is drawn at its start"
        if all(is_fraction(metric.facts) for metric in metrics)
        else "beyond an axis is drawn at its end"
    )
    return Figure(
        "distribution",
        "How much do the methods vary from case to case?",
        "Box: the middle half of the cases; line: the median; diamond: the mean; whiskers: 5 % to 95 %; what "
        f"lies {beyond}.{dots}",
        svg.markup(),
        wide=True,
    )


def _panel(
    scene: Scene,
    svg: Svg,
    metric: Metric,
    left: float,
    top: float,
    height: float,
    *,
    dotted: bool,
    named: bool,
) -> None:
    values = scene.metric_cases(metric)
    axis = axis_of(metric.facts, values, scene.failed)
    bottom = top + height * len(scene.rows)
    scale = Linear(axis.low, axis.high, left + 12, left + _PANEL - 22)
    svg.text(left + 10, top - 10, f"{metric.title}{unit_after(metric.facts)}", "head")
    x_axis(svg, scale, top, bottom, axis.tick)
    for row, item in enumerate(scene.rows):
        middle = top + height * (row + 0.5)
        if named:
            svg.name(left - 4, middle + 4, item.team, "end name", data_t=row)
        known = ~np.isnan(values[:, row])
        cases = axis.held(values[known, row])
        mean = float(values[known, row].mean()) if known.any() else 0.0
        if not len(cases):
            continue
        if dotted:
            _strip(svg, scale, cases, scene.failed[known, row], middle, height, row, scene.colour(row))
        low, first, median, third, high = np.quantile(cases, [0.05, 0.25, 0.5, 0.75, 0.95])
        colour = scene.colour(row)
        half = min(height * 0.28, 6)
        tip = f"{item.team}: median {axis.value(median)}, mean {axis.value(mean)}, middle half "
        tip += f"{axis.value(first)} to {axis.value(third)}"
        svg.line(scale(low), middle, scale(high), middle, f"whisker {colour}", data_t=row)
        svg.rect(
            scale(first),
            middle - half,
            max(scale(third) - scale(first), 1),
            2 * half,
            f"box {colour}",
            tip=tip,
            data_t=row,
        )
        svg.line(scale(median), middle - half, scale(median), middle + half, f"median {colour}", data_t=row)
        x = scale(axis.at(mean))
        svg.shape(f"M{x:.1f} {middle - 4:.1f}l4 4l-4 4l-4 -4z", f"mean {colour}", data_t=row)


def _strip(
    svg: Svg,
    scale: Linear,
    cases: Floats,
    failed: Bools,
    middle: float,
    height: float,
    row: int,
    colour: str,
) -> None:
    """Scatter a method's cases over its line, always the same way, failed ones as crosses."""
    scatter = np.random.default_rng(len(cases)).uniform(-0.36, 0.36, len(cases)) * height
    places = [(scale(value), middle + shift) for value, shift in zip(cases, scatter, strict=True)]
    fine = [place for place, lost in zip(places, failed, strict=True) if not lost]
    lost = [place for place, lost in zip(places, failed, strict=True) if lost]
    if fine:
        svg.dots(fine, f"faint {colour}", data_t=row)
    if lost:
        crosses = "".join(f"M{x - 2:.1f} {y - 2:.1f}l4 4m0 -4l-4 4" for x, y in lost)
        svg.shape(crosses, "cross", data_t=row)


def organ_table(scene: Scene, facts: MetricFacts) -> Figure:
    """Lay out every method's mean score of every organ, coloured."""
    columns = organ_columns(scene.challenge, facts)
    cells = [[column.of(row) for column in columns] for row in scene.rows]
    known = sorted(value for line in cells for value in line if value is not None and np.isfinite(value))
    if facts.direction == "lower":
        known.reverse()
    low = known[int(0.05 * (len(known) - 1))] if known else 0.0
    high = known[-1] if known else 1.0
    best = [column.best(scene.rows) for column in columns]
    head = "".join(map(_organ_heading, scene.challenge.labels))
    body = []
    for row, line in enumerate(cells):
        team = escape(printable(scene.rows[row].team))
        tds = "".join(_cell(facts, value, low, high, best[i]) for i, value in enumerate(line))
        body.append(f'<tr data-t="{row}"><th scope="row" class="team">{team}</th>{tds}</tr>')
    markup = (
        '<div class="scroll"><table class="sortable heat"><thead><tr><th scope="col" class="team">'
        f'<button type="button">method</button></th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )
    return Figure(
        f"organs-{facts.key}",
        f"Which organs are hard, and for whom ({facts.title})?",
        f"Mean {facts.title}{unit_in_words(facts)} over the cases that annotate the organ, failed ones "
        f"included. The deeper the colour, the better; the scale runs from {_tick(facts, low)} to "
        f"{_tick(facts, high)}. Underlined: the organ's best.",
        Markup(markup),
        wide=True,
    )


def _organ_heading(label: Label) -> str:
    """Return a label's heading, underlined with its colour where the challenge names one."""
    style = f' style="border-bottom: 3px solid {escape(label.colour)}"' if label.colour else ""
    return f'<th scope="col"{style}><button type="button">{escape(label.name)}</button></th>'


def _tick(facts: MetricFacts, value: float) -> str:
    return percent(value) if facts.percent else f"{value:.3g}"


def _cell(facts: MetricFacts, value: float | None, low: float, high: float, best: float | None) -> str:
    if value is None:
        return '<td data-v="">–</td>'
    depth = 100 * min(max((value - low) / ((high - low) or 1.0), 0.0), 1.0) if np.isfinite(value) else 0.0
    strong = ' class="best"' if value == best else ""
    shown = f"{100 * value:.1f}" if facts.percent else shown_value(facts, value)
    return f'<td data-v="{value:.6f}" style="--d:{depth:.0f}%"{strong}>{shown}</td>'


def organ_multiples(scene: Scene, facts: MetricFacts) -> Figure:
    """Draw one small panel per organ with the methods in ranked order."""
    labels = list(scene.challenge.labels)
    scores = scene.organ_cases(facts.key)
    spread = [_spread(scores[:, :, column]) for column in range(len(labels))]
    axis = _organ_axis(facts, spread)
    columns, width, height = 5, 240.0, 150.0
    lines = -(-len(labels) // columns)
    what = "Dice" if facts.key == "dsc" else facts.title
    svg = Svg(
        columns * width,
        lines * height,
        label=f"{what} of every organ, a panel per organ, methods in ranked order",
    )
    for index, label in enumerate(labels):
        left, top = (index % columns) * width + 34, (index // columns) * height + 24
        right, bottom = left + width - 48, top + height - 40
        x = Linear(-0.5, len(scene.rows) - 0.5, left, right)
        y = Linear(axis.low, axis.high, bottom, top)
        svg.text(left, top - 9, label.name, "head")
        y_axis(svg, y, left, right, axis.tick)
        for row, line in enumerate(spread[index]):
            if line is None:
                continue
            first, mean, third = line
            tip = f"{scene.rows[row].team}: {label.name} mean {axis.value(mean)}"
            svg.line(
                x(row), y(axis.at(first)), x(row), y(axis.at(third)), f"range {scene.colour(row)}", data_t=row
            )
            svg.circle(
                x(row),
                y(axis.at(mean)),
                3.2 if len(scene.rows) <= 20 else 1.9,
                f"point {scene.colour(row)}",
                tip=tip,
                data_t=row,
            )
    order = ", ".join(short(row.team, 16) for row in scene.rows[:3])
    return Figure(
        "organs",
        "Does the order of the methods hold organ by organ?",
        f"Mean {facts.title}{unit_in_words(facts)} (dot) and the middle half of the cases (bar); methods "
        f"from the first rank at the left ({order}{', …' if len(scene.rows) > 3 else ''}) to the last at the "
        "right.",
        svg.markup(),
        wide=True,
    )


def _organ_axis(facts: MetricFacts, spread: Sequence[Sequence[tuple[float, float, float] | None]]) -> Axis:
    drawn = np.array([line for panel in spread for line in panel if line is not None]).reshape(-1, 3)
    if not is_fraction(facts):
        return axis_of(facts, drawn, np.zeros(drawn.shape, dtype=bool))
    lowest = float(drawn[:, 0].min()) if len(drawn) else 0.0
    return Axis(float(np.floor(10 * lowest) / 10), 1.0, percent, lambda value: shown_value(facts, value))


def _spread(cases: Floats) -> Sequence[tuple[float, float, float] | None]:
    lines: list[tuple[float, float, float] | None] = []
    for values in cases:
        known = values[~np.isnan(values)]
        if not len(known):
            lines.append(None)
            continue
        finite = bool(np.isfinite(known).all())  # between two infinite values nothing is interpolated
        first, third = np.quantile(known, [0.25, 0.75], method="linear" if finite else "nearest")
        lines.append((float(first), float(known.mean()), float(third)))
    return lines
