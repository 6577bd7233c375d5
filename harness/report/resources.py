"""Figures of cost: accuracy against time and memory, run time quantiles, memory over time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.metrics import MetricFacts
from harness import text as format_
from harness.challenge.metrics import is_fraction
from harness.challenge.model import column_name
from harness.leaderboard import Row
from harness.leaderboard.values import Floats
from harness.report.marks import Line, box, name_column, panel_grid, scrolled, two_widths
from harness.report.scene import Figure, Scene, row_height
from harness.report.svg import Linear, Log, Svg, log_around, x_axis, y_axis
from harness.text import score

_NAMES = 150.0
_SIDE = 440.0
_WIDE = 1100.0
_NARROW = 440.0
_CURVE_POINTS = 160
_MOST_CURVES = 60
_LEAST_SAMPLES = 3
"""Fewer make no curve: a case that was over before it was sampled."""


def resource_figures(scene: Scene) -> list[Figure]:
    """Return the figures of time and memory; none where nothing was run."""
    if not any(row.cells["runtime_median_s"] is not None for row in scene.rows):
        return []
    figures = [tradeoff(scene, cost) for cost in _costs(scene)] if accuracy_of(scene) is not None else []
    figures.append(quantiles(scene))
    if scene.shows_cases and (curves := memory_curves(scene)) is not None:
        figures.append(curves)
    return figures


@dataclass(frozen=True)
class Cost:
    """What accuracy is drawn against.

    Attributes:
        name: The figure's anchor.
        question: What the figure asks.
        what: The cost in words.
        value: A row's cost.
        shown: How a cost reads.
        limit: The challenge's limit of it.
    """

    name: str
    question: str
    what: str
    value: Callable[[Row], float | None]
    shown: Callable[[float], str]
    limit: float | None


def _costs(scene: Scene) -> list[Cost]:
    limits = scene.challenge.limits
    costs = [
        Cost(
            "accuracy-time",
            "Is accuracy bought with time?",
            "median run time",
            lambda row: row.cells["runtime_median_s"],
            _seconds,
            limits.time_s,
        ),
        Cost(
            "accuracy-memory",
            "Is accuracy bought with memory?",
            "peak memory",
            lambda row: _gib(peak_memory_bytes(row)),
            _gib_shown,
            _gib(limits.memory_bytes),
        ),
    ]
    if any(row.cells["peak_gpu_memory_bytes"] for row in scene.rows):
        costs.append(
            Cost(
                "accuracy-gpu",
                "Is accuracy bought with GPU memory?",
                "peak GPU memory",
                lambda row: _gib(row.cells["peak_gpu_memory_bytes"]) or None,
                _gib_shown,
                _gib(limits.gpu_memory_bytes),
            )
        )
    return costs


def peak_memory_bytes(row: Row) -> float | None:
    """Return a row's memory as it is ranked: the working set's peak, else the whole."""
    return row.cells["peak_working_set_bytes"] or row.cells["peak_memory_bytes"]


def accuracy_of(scene: Scene) -> MetricFacts | None:
    """Return the fraction that stands for accuracy; None where only other metrics are computed."""
    return next((facts for facts in scene.label_facts if is_fraction(facts)), None)


def tradeoff(scene: Scene, cost: Cost) -> Figure:
    """Draw mean accuracy against a cost, with the Pareto front and the limit."""
    facts = accuracy_of(scene)
    assert facts is not None
    points = _points(scene, facts, cost)
    left, right, top, bottom = 52.0, _SIDE - 24, 16.0, 330.0
    costs = [spent for _, spent, _ in points]
    limit = cost.limit if cost.limit is not None and costs and cost.limit <= 4 * max(costs) else None
    x = log_around([*costs, *([] if limit is None else [limit])], left, right)
    y = _gain_axis([gain for _, _, gain in points], bottom, top)
    svg = Svg(
        _SIDE,
        bottom + 46,
        label=f"Mean {facts.title} of {scene.group} against {cost.what}, a point per method",
    )
    x_axis(svg, x, top, bottom, cost.shown)
    y_axis(svg, y, left, right, lambda v: f"{100 * v:.3g}")
    svg.text((left + right) / 2, bottom + 36, f"{cost.what} (logarithmic)", "tick mid")
    svg.text(left, top - 4, f"{facts.title} {scene.group}, %", "tick")
    if limit is not None:
        svg.line(x(limit), top, x(limit), bottom, "limit")
        svg.text(x(limit) - 5, bottom - 6, f"limit {cost.shown(limit)}", "limittext end")
    front = pareto([(spent, gain) for _, spent, gain in points])
    _draw_front(svg, [points[position] for position in front], x, y, right)
    for index, spent, gain in reversed(points):
        tip = f"{scene.rows[index].team}: {facts.title} {score(gain)} %, {cost.what} {cost.shown(spent)}"
        svg.circle(x(spent), y(gain), 5.5, f"point {scene.colour(index)}", tip=tip, data_t=index)
    named = points if len(points) <= 14 else points[:5]
    chosen = {points[position][0] for position in front} | {index for index, _, _ in named}
    _labels(svg, scene, [(index, x(spent), y(gain)) for index, spent, gain in points], chosen, (left, right))
    said = "no other method is both more accurate and cheaper than those on the line"
    return Figure(
        cost.name,
        cost.question,
        f"Up and left is better; {said}. A failed case counts with the challenge's value in both."
        if "time" in cost.what
        else f"Up and left is better; {said}.",
        scrolled(svg),
    )


def _points(scene: Scene, facts: MetricFacts, cost: Cost) -> list[tuple[int, float, float]]:
    """Return index, cost and gain of the rows that have both."""
    points = []
    for index, row in enumerate(scene.rows):
        spent, gain = cost.value(row), row.cells[f"{facts.column}_{column_name(scene.group)}"]
        # Who failed everywhere is neither cheap nor fast.
        if spent is not None and gain is not None and spent > 0 and row.failed < row.cases:
            points.append((index, spent, gain))
    return points


def _gain_axis(gains: list[float], bottom: float, top: float) -> Linear:
    low, high = (min(gains), max(gains)) if gains else (0.0, 1.0)
    room = max(0.02, 0.12 * (high - low))
    return Linear(max(0.0, low - room), min(1.0, high + room), bottom, top)


def _draw_front(svg: Svg, front: Sequence[tuple[int, float, float]], x: Log, y: Linear, right: float) -> None:
    """Draw the steps below which no method is both cheaper and more accurate."""
    if not front:
        return
    steps: list[tuple[float, float]] = [(x(front[0][1]), y.start)]
    for _, spent, gain in front:
        steps += [(x(spent), steps[-1][1]), (x(spent), y(gain))]
    steps.append((right, steps[-1][1]))
    svg.path(steps, "front")


def pareto(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the (cost, gain) points that no other one beats in both, by rising cost."""
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        if not front or points[index][1] > points[front[-1]][1]:
            front.append(index)
    return front


def _labels(
    svg: Svg,
    scene: Scene,
    places: Sequence[tuple[int, float, float]],
    chosen: set[int],
    across: tuple[float, float],
) -> None:
    """Name the chosen points, each at the first side where its name covers nothing."""
    taken = [(x - 6, y - 6, x + 6, y + 6) for _, x, y in places]
    for index, x, y in places:
        if index not in chosen:
            continue
        name = scene.rows[index].team
        width = 6.6 * min(len(name), 24)
        options = [
            (x + 9, y + 4, "name"),
            (x - 9, y + 4, "end name"),
            (x + 5, y - 9, "name"),
            (x - 5, y + 17, "end name"),
            (x + 5, y + 17, "name"),
            (x - 5, y - 9, "end name"),
        ]
        for left, base, style in options:
            start = left - width if style.startswith("end") else left
            box = (start, base - 11, start + width, base + 3)
            inside = box[0] >= across[0] and box[2] <= across[1] + 20
            if inside and not any(_overlap(box, other) for other in taken):
                svg.name(left, base, name, style, data_t=index)
                taken.append(box)
                break


def _overlap(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def quantiles(scene: Scene) -> Figure:
    """Draw each method's run time: middle, spread, tail, and the limit."""
    times = [_times(scene, index) for index in range(len(scene.rows))]
    return Figure(
        "runtime",
        "How long does a case take, and how long can it take?",
        "Run time of the cases that succeeded, on a logarithmic scale. Box: the middle half; line: the "
        "median; bars: 5 % and 95 %; dot: the longest.",
        two_widths(_time_boxes(scene, times, _WIDE), _time_boxes(scene, times, _NARROW)),
        wide=True,
    )


def _time_boxes(scene: Scene, times: Sequence[Floats], width: float) -> Svg:
    limit = scene.challenge.limits.time_s
    known = [float(value) for values in times for value in values]
    height = row_height(len(scene.rows))
    top = 22.0
    bottom = top + height * len(scene.rows)
    near = bool(known) and limit <= 4 * max(known)
    scale = log_around([*known, *([limit] if near else [])], _NAMES, width - 30, room=1.15)
    svg = Svg(width, bottom + 40, label="Run time of the cases, a line per method")
    x_axis(svg, scale, top, bottom, _seconds)
    if near:
        svg.line(scale(limit), top - 8, scale(limit), bottom, "limit")
        svg.text(scale(limit) - 5, top - 10, f"limit {_seconds(limit)}", "limittext end")
    name_column(svg, (row.team for row in scene.rows), right=_NAMES - 8, top=top, height=height)
    for index, values in enumerate(times):
        middle = top + height * (index + 0.5)
        row = scene.rows[index]
        if not len(values):
            svg.text(
                _NAMES + 6,
                middle + 4,
                "not run" if row.source != "container" else "no case succeeded",
                "tick",
            )
            continue
        *five, high = np.quantile(values, [0.05, 0.25, 0.5, 0.75, 0.95, 1], method="inverted_cdf")
        tip = f"median {_seconds(five[2])}, 95 % within {_seconds(five[4])}, longest {_seconds(high)}"
        box(svg, scale, Line(middle, height), five, scene.mine(index), tip=tip)
        svg.dots([(scale(high), middle)], f"mid {scene.colour(index)}", data_t=index)
    return svg


def _times(scene: Scene, index: int) -> Floats:
    run = scene.runs[index]
    measured = run.resource("runtime_s")
    return measured[run.succeeded & ~np.isnan(measured) & (measured > 0)]


def memory_curves(scene: Scene) -> Figure | None:
    """Draw memory over time of each method's heaviest case; None where no time line is kept."""
    curves: list[_Curve] = []
    for index in range(min(len(scene.rows), _MOST_CURVES)):
        run = scene.runs[index]
        peaks = run.resource("peak_memory_bytes")
        if np.isnan(peaks).all():
            continue
        case = int(np.nanargmax(peaks))
        timeline = read_timeline(run.folder / "cases" / run.cases[case] / "timeline.csv")
        if len(timeline) >= _LEAST_SAMPLES:
            area = run.resource("memory_auc_byte_s")[case]
            curves.append(_Curve(index, run.cases[case], timeline, float(peaks[case]), float(area)))
    if not curves:
        return None
    limit = float(scene.challenge.limits.memory_bytes)
    highest = max(curve.peak for curve in curves)
    ceiling = limit * 1.05 if limit <= 4 * highest else highest * 1.1
    panels = [_curve_panel(scene, curve, ceiling, limit) for curve in curves]
    drawn = "" if limit <= ceiling else f" The limit of {format_.size(limit)} lies above the panels."
    return Figure(
        "memory",
        "When is memory needed, and how near is the limit?",
        "Memory in GiB over seconds of each method's heaviest case, as sampled; above it the peak as the "
        f"kernel counted it and the area under the curve. Dashed: the limit.{drawn}",
        panel_grid(panels, least=240),
        wide=True,
    )


@dataclass(frozen=True, eq=False)
class _Curve:
    """Memory over time of a method's heaviest case; bytes, and byte seconds."""

    index: int
    case: str
    timeline: Floats
    peak: float
    area: float


def _curve_panel(scene: Scene, curve: _Curve, ceiling: float, limit: float) -> Svg:
    name = scene.rows[curve.index].team
    svg = Svg(300, 164, label=f"Memory over time of {name}")
    left, right, top, bottom = 40.0, 288.0, 40.0, 140.0
    x = Linear(0, max(float(curve.timeline[-1, 0]), 1e-3), left, right)
    y = Linear(0, ceiling / 1024**3, bottom, top)
    svg.name(left, top - 23, name, "head", data_t=curve.index)
    known = "" if np.isnan(curve.area) else f", {format_.byte_seconds(curve.area)}"
    svg.text(left, top - 8, f"{format_.size(curve.peak)}{known}", "tick")
    for tick in y.ticks(3):
        svg.line(left, y(tick), right, y(tick))
        svg.text(left - 5, y(tick) + 4, f"{tick:g}", "tick end")
    for tick in x.ticks(4):
        svg.text(x(tick), bottom + 14, f"{tick:g}", "tick mid")
    points = [(x(t), y(min(value, ceiling) / 1024**3)) for t, value in curve.timeline]
    colour = scene.colour(curve.index)
    svg.path([(points[0][0], bottom), *points, (points[-1][0], bottom)], f"under {colour}")
    svg.path(points, f"curve {colour}", tip=f"{name}, case {curve.case}", data_t=curve.index)
    if limit <= ceiling:
        svg.line(left, y(limit / 1024**3), right, y(limit / 1024**3), "limit")
    return svg


def read_timeline(path: Path) -> Floats:
    """Return (seconds, memory bytes) of a time line, thinned but with its peaks; empty if there is none."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [
                (float(row["t_s"]), float(row["memory_bytes"]))
                for row in csv.DictReader(file)
                if row.get("t_s") and row.get("memory_bytes")
            ]
    except (OSError, ValueError, csv.Error):
        return np.empty((0, 2))
    samples = np.array(rows, dtype=np.float64).reshape(-1, 2)
    if len(samples) <= _CURVE_POINTS:
        return samples
    parts = np.array_split(samples, _CURVE_POINTS)
    return np.stack([part[np.argmax(part[:, 1])] for part in parts])


def _seconds(value: float) -> str:
    return f"{value:,.3g} s" if value < 1000 else f"{value:,.0f} s"


def _gib(value: float | None) -> float | None:
    return None if value is None else value / 1024**3


def _gib_shown(value: float) -> str:
    return f"{value:.3g} GiB"
