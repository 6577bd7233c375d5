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

_NAMES = 124.0
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
            "Mean, and below it the bootstrap interval.",
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
    return f"{shown} ({_ends(metric, item.bca)})"


def _table(scene: Scene, parts: Sequence[Subgroup], metric: Metric) -> Markup:
    """Return a table with the fewer of methods and parts across, so that it fits a page."""
    teams = [str(escape(printable(row.team))) for row in scene.rows]
    titles = [
        f"{escape(printable(f'{part.column}: {part.value}'))}<br><small>n = {part.cases}</small>"
        for part in parts
    ]
    cells = [[_cell(metric, part.means[metric.key][row], row) for row in range(len(teams))] for part in parts]
    if len(parts) > len(teams):
        corner, across = "cases", teams
        lines = [f"<tr>{_head(title)}{''.join(own)}</tr>" for title, own in zip(titles, cells, strict=True)]
    else:
        corner, across = "method", titles
        lines = [
            f'<tr data-t="{row}">{_head(team)}{"".join(own[row] for own in cells)}</tr>'
            for row, team in enumerate(teams)
        ]
    heads = "".join(f'<th scope="col">{title}</th>' for title in across)
    label = escape(f"{metric.title}{unit_after(metric.facts)} by subgroup")
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="parts">'
        f'<thead><tr><th scope="col" class="team">{corner}</th>{heads}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _head(content: str) -> str:
    return f'<th scope="row" class="team">{content}</th>'


def _cell(metric: Metric, item: Estimate | None, row: int) -> str:
    if item is None:
        return f'<td data-t="{row}">–</td>'
    interval = "" if item.bca is None else f"<small>{_ends(metric, item.bca)}</small>"
    return f'<td data-t="{row}" data-v="{item.mean}">{with_unit(metric.facts, item.mean)}{interval}</td>'


def _ends(metric: Metric, ends: tuple[float, float]) -> str:
    return " to ".join(with_unit(metric.facts, end) for end in ends)
