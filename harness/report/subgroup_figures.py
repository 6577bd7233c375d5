"""Figures of parts of the cases: by scanner, phase, sex, size, or whatever the table of cases holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup, escape

from harness.challenge import Metric
from harness.challenge.metrics import with_unit
from harness.leaderboard.subgroups import Subgroup
from harness.leaderboard.uncertainty import Estimate
from harness.report.axes import Axis, axis_of, unit_after
from harness.report.marks import name_column, panel_grid, tabs
from harness.report.scene import Figure, Scene, row_height
from harness.report.svg import Linear, Svg, short, x_axis
from harness.text import printable

_NAMES = 108.0
_METHODS = 20
_LEAST_HIDDEN_CASES = 5
"""On a hidden set a mean over fewer would tell of single cases."""


def subgroup_figures(scene: Scene) -> list[Figure]:
    """Return the means over parts of the cases as drawings and as a table; nothing if no part is known."""
    parts = [
        part for part in scene.division.subgroups if scene.shows_cases or part.cases >= _LEAST_HIDDEN_CASES
    ]
    metrics = [metric for metric in scene.score_metrics if parts and metric.key in parts[0].means]
    if not metrics:
        return []
    drawn = [(metric.title, _panels(scene, parts, metric)) for metric in metrics]
    listed = [(metric.title, _table(scene, parts, metric)) for metric in metrics]
    more = f" The first {_METHODS} methods." if len(scene.rows) > _METHODS else ""
    return [
        Figure(
            "subgroups",
            "Does it hold for every kind of case?",
            "The mean over each part of the cases with its bootstrap interval; above a panel the number of "
            f"its cases. Of few cases an interval says little.{more}",
            tabs(f"subgroups-{scene.anchor}", drawn),
            wide=True,
        ),
        Figure(
            "subgroup-table",
            "What are the means of each kind of case?",
            "Mean, and in brackets the bootstrap interval.",
            tabs(f"subgroup-table-{scene.anchor}", listed),
            wide=True,
        ),
    ]


def _panels(scene: Scene, parts: Sequence[Subgroup], metric: Metric) -> Markup:
    known = [item for part in parts for item in part.means[metric.key] if item is not None]
    ends = [end for item in known for end in (item.mean, *(item.bca or ()))]
    values = np.array(ends or [0.0])
    axis = axis_of(metric.facts, values, np.zeros(values.shape, dtype=bool))
    return panel_grid([_panel(scene, part, metric, axis) for part in parts], least=280)


def _panel(scene: Scene, part: Subgroup, metric: Metric, axis: Axis) -> Svg:
    rows = scene.rows[:_METHODS]
    top, height = 26.0, row_height(len(rows))
    bottom = top + height * len(rows)
    title = f"{part.column}: {part.value} (n = {part.cases})"
    svg = Svg(340, bottom + 24, label=f"{metric.title} of cases with {title}")
    svg.text(10, top - 10, short(title, 44), "head")
    scale = Linear(axis.low, axis.high, _NAMES + 12, 318)
    x_axis(svg, scale, top, bottom, axis.tick)
    name_column(svg, (row.team for row in rows), right=_NAMES, top=top, height=height)
    for row, item in enumerate(part.means[metric.key][:_METHODS]):
        if item is None:
            continue
        y, mine = top + height * (row + 0.5), scene.mine(row)
        if item.bca is not None:
            low, high = (scale(axis.at(end)) for end in item.bca)
            svg.line(low, y, high, y, f"interval {mine.colour}", data_t=row)
        tip = f"{mine.name}: {_said(metric, item)}"
        svg.circle(scale(axis.at(item.mean)), y, 4.5, f"point {mine.colour}", tip=tip, data_t=row)
    return svg


def _said(metric: Metric, item: Estimate) -> str:
    shown = with_unit(metric.facts, item.mean)
    if item.bca is None:
        return shown
    return f"{shown} ({' to '.join(with_unit(metric.facts, end) for end in item.bca)})"


def _table(scene: Scene, parts: Sequence[Subgroup], metric: Metric) -> Markup:
    titles = [escape(printable(f"{part.column}: {part.value}")) for part in parts]
    heads = "".join(
        f'<th scope="col">{title}<br><small>n = {part.cases}</small></th>'
        for title, part in zip(titles, parts, strict=True)
    )
    body = []
    for row, own in enumerate(scene.rows):
        cells = "".join(_cell(metric, part.means[metric.key][row]) for part in parts)
        team = escape(printable(own.team))
        body.append(f'<tr data-t="{row}"><th scope="row" class="team">{team}</th>{cells}</tr>')
    label = escape(f"{metric.title}{unit_after(metric.facts)} by subgroup")
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table><thead><tr>'
        f'<th scope="col" class="team">method</th>{heads}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _cell(metric: Metric, item: Estimate | None) -> str:
    return "<td>–</td>" if item is None else f'<td data-v="{item.mean}">{_said(metric, item)}</td>'
