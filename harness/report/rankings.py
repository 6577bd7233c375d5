"""Figures of how sure the ranking is: blobs, Kendall's tau, significance, schemes, rank heat map.

The designs are those of Wiesenfarth et al., Scientific Reports 11:2369 (2021).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from harness.leaderboard.model import Analysis
from harness.leaderboard.ranking import (
    Bools,
    Ints,
    ValueTable,
    case_ranks,
    competition_ranks,
    rank_teams,
)
from harness.leaderboard.statistics import bootstrap
from harness.report.compare import weights
from harness.report.marks import Cell, heat_cell, name_column, scrolled
from harness.report.scene import Figure, Scene, row_height
from harness.report.svg import Linear, Svg, short

_NAMES = 150.0
_SIDE = 560.0
_WIDE = 1100.0
_SCHEME_WIDTH = 120.0
"""Few orders need no page: a drawing as wide as one scrolls on a tablet."""
_NARROW = 440.0
"""What a phone shows whole."""
_NARROW_TEAMS = 24
"""More teams than this need the page's width for their names."""
_TAU_SAMPLES = 500
_MOST_WINS = 60
_LIKELY = 0.01
TAU_FROM = 5
"""Fewer methods have so few orders that Kendall's tau takes a handful of values: nothing to draw."""


def ranking_figures(scene: Scene) -> list[Figure]:
    """Return the figures of the ranking; none where fewer than two teams are ranked."""
    analysis = scene.division.analysis
    if analysis is None or scene.ranked < 2:
        return []
    figures = []
    if analysis.bootstrap is not None:
        figures.append(blobs(scene, analysis))
        if scene.ranked >= TAU_FROM:
            figures.append(tau(scene, analysis))
    if analysis.significance is not None:
        figures.append(significance(scene, analysis))
    figures.append(win_rates(scene, analysis))
    figures.append(rank_heatmap(scene, analysis))
    figures.append(rank_lines(scene, analysis))
    if (weighed := weights(scene, analysis)) is not None:
        figures.append(weighed)
    return figures


def blobs(scene: Scene, analysis: Analysis) -> Figure:
    """Draw how often each method took each rank in the bootstrap samples."""
    assert analysis.bootstrap is not None
    teams = scene.ranked
    counts = analysis.bootstrap.rank_counts()
    samples = len(analysis.bootstrap.ranks)
    # The first names slant past the axis, so that it needs room at the left as below.
    left = max(64.0, _slant_room(scene, teams) - 10)
    step = _cell_size(teams, across=left)
    top, size = 14.0, step * teams
    width = max(left + size + 10, _SIDE)
    svg = Svg(width, top + size + _slant_room(scene, teams), label="Ranks over bootstrap samples")
    x = Linear(0.5, teams + 0.5, left, left + size)
    y = Linear(0.5, teams + 0.5, top, top + size)
    for rank in _rank_ticks(teams):
        svg.line(left, y(rank), left + size, y(rank))
        svg.text(left - 8, y(rank) + 4, str(rank), "tick end")
    middle = top + size / 2
    svg.text(12, middle, "rank", "tick mid", transform=f"rotate(-90 12 {middle:.0f})")
    radius = step * 0.5
    for team in range(teams):
        row = scene.rows[team]
        low, high = int(analysis.bootstrap.low[team]), int(analysis.bootstrap.high[team])
        svg.line(x(team + 1), y(low), x(team + 1), y(high), f"interval {scene.colour(team)}", data_t=team)
        for rank in map(int, np.flatnonzero(counts[team])):
            share = counts[team, rank] / samples
            svg.circle(
                x(team + 1),
                y(rank + 1),
                max(radius * float(np.sqrt(share)), 0.8),
                f"blob {scene.colour(team)}",
                tip=f"{row.team}: rank {rank + 1} in {100 * share:.1f} % of the samples",
                data_t=team,
            )
        own = int(analysis.ranking.ranks[team])
        cross = f"M{x(team + 1) - 4:.1f} {y(own):.1f}h8m-4 -4v8"
        svg.shape(cross, "plus", data_t=team)
        _slanted(svg, scene, team, x(team + 1), top + size + 14)
    return Figure(
        "blobs",
        "How sure is each rank?",
        f"Area: the share of {scene.leaderboard.bootstrap_samples:,} bootstrap samples of the cases in which "
        f"the method took the rank; line: the {100 * scene.leaderboard.confidence:g} % interval; cross: the "
        f"rank over all cases. Probability of being first: {_first(scene)}.",
        scrolled(svg),
        wide=scene.ranked > _NARROW_TEAMS,
    )


def _first(scene: Scene) -> str:
    """Return the methods that may well be first, with how probable it is."""
    likely = [row for row in scene.division.ranked if row.p_first is not None and row.p_first >= _LIKELY]
    likely.sort(key=lambda row: -(row.p_first or 0.0))
    return (
        ", ".join(f"{short(row.team)} {100 * (row.p_first or 0.0):.0f} %" for row in likely[:3])
        or "none stands out"
    )


def tau(scene: Scene, analysis: Analysis) -> Figure:
    """Draw how well the samples' orders agree with the full one, for the scheme and each metric alone."""
    assert analysis.bootstrap is not None
    scheme = scene.leaderboard.scheme
    lines = [("all metrics, as ranked", analysis.bootstrap.tau)]
    if len(analysis.table.metrics) > 1 and scheme.order != "test-then-rank":
        for index, metric in enumerate(analysis.table.metrics):
            part = ValueTable((metric,), analysis.table.values[[index]], analysis.table.counted[[index]])
            full = rank_teams(part, scheme)
            alone = bootstrap(
                part,
                scheme,
                full,
                samples=min(_TAU_SAMPLES, len(analysis.bootstrap.ranks)),
                seed=scene.leaderboard.seed,
                confidence=scene.leaderboard.confidence,
            )
            lines.append((f"{metric.title} alone", alone.tau))
    known = [values[~np.isnan(values)] for _, values in lines]
    lowest = min((float(values.min()) for values in known if len(values)), default=0.0)
    scale = Linear(min(np.floor(lowest * 10) / 10, 0.9), 1, _NAMES, _NARROW - 62)
    height = 44.0
    svg = Svg(
        _NARROW, len(lines) * height + 46, label="Kendall's tau of bootstrap orders with the full order"
    )
    bottom = len(lines) * height + 16
    for tick in scale.ticks(4):
        svg.line(scale(tick), 8, scale(tick), bottom)
        svg.text(scale(tick), bottom + 15, f"{tick:g}", "tick mid")
    for index, ((title, _), values) in enumerate(zip(lines, known, strict=True)):
        base = 8 + (index + 1) * height
        svg.text(_NAMES - 10, base - 8, title, "end name")
        if not len(values):
            svg.text(_NAMES + 8, base - 8, "all tied", "tick")
            continue
        bins = np.linspace(scale.low, 1, 33)
        shares, _ = np.histogram(values, bins=bins)
        tops = shares / shares.max() * (height - 10)
        points = [(scale(scale.low), base)]
        for start, end, rise in zip(bins[:-1], bins[1:], tops, strict=True):
            points += [(scale(start), base - rise), (scale(end), base - rise)]
        svg.path([*points, (scale(1), base)], "area strong" if index == 0 else "area")
        middle = float(np.median(values))
        svg.line(scale(middle), base - height + 8, scale(middle), base, "middle")
        svg.text(_NARROW - 4, base - 8, f"{middle:.3f}", "tick end")
    return Figure(
        "tau",
        "Would another set of cases give the same order?",
        "Kendall's tau between the order over all cases and the orders over bootstrap samples: 1 is the same "
        "order, 0 none in common. Line and number: the median.",
        scrolled(svg),
    )


def significance(scene: Scene, analysis: Analysis) -> Figure:
    """Draw which differences a test confirms, with the p values."""
    assert analysis.significance is not None
    better, adjusted = analysis.significance.better, analysis.significance.adjusted
    tested = len(better)

    def draw(svg: Svg, cell: Cell, i: int, j: int) -> None:
        tip = f"{scene.rows[i].team} better than {scene.rows[j].team}: p = {adjusted[i, j]:.3g}"
        kind = "cell yes" if better[i, j] else "cell no"
        svg.rect(cell.x, cell.y, cell.width - 1, cell.height - 1, kind, tip=tip if tested <= 40 else None)
        if cell.width >= 30:
            ink = "cellnum light" if better[i, j] else "cellnum"
            middle = (cell.x + cell.width / 2, cell.y + cell.height / 2 + 4)
            svg.text(*middle, _p_value(adjusted[i, j]), ink)

    groups = max((row.tie_group or 0 for row in scene.division.ranked), default=0)
    more = f" Only the first {tested} are tested." if tested < scene.ranked else ""
    said = f"The tests make {groups} group{'s' if groups != 1 else ''} of methods that they do not separate."
    if analysis.power is not None and not analysis.power.can_separate:
        said = (
            f"{analysis.power.cases} cases cannot separate any {tested} methods, however different: the "
            "smallest p value that they allow lies above 5 % after the correction. It takes "
            f"{analysis.power.cases_needed} cases or more."
        )
    return Figure(
        "significance",
        "Which differences are more than chance?",
        "Filled: the row's method has better combined ranks than the column's over the cases (one-sided "
        f"Wilcoxon signed-rank test, 5 %); the number is p after Holm's correction. {said}{more}",
        scrolled(
            _matrix(scene, tested, "Significance map: the row's method is better than the column's", draw)
        ),
        wide=scene.ranked > _NARROW_TEAMS,
    )


def win_rates(scene: Scene, analysis: Analysis) -> Figure:
    """Draw how often each method beats each other one, case by case."""
    rates = analysis.win_rates
    shown = min(len(rates), _MOST_WINS)

    def draw(svg: Svg, cell: Cell, i: int, j: int) -> None:
        tip = f"{scene.rows[i].team} beats {scene.rows[j].team} in {100 * rates[i, j]:.0f} % of the cases"
        number = f"{100 * rates[i, j]:.0f}"
        heat_cell(svg, cell, float(rates[i, j]), shown=number, tip=tip if shown <= 40 else None)

    more = f" The first {shown} methods." if shown < scene.ranked else ""
    return Figure(
        "wins",
        "Who beats whom, and how often?",
        "The share of the cases in percent in which the row's method has the better combined rank than the "
        f"column's; a tie counts half.{more}",
        scrolled(_matrix(scene, shown, "Win rates: the row's method against the column's", draw)),
        wide=scene.ranked > _NARROW_TEAMS,
    )


def _matrix(scene: Scene, teams: int, label: str, draw: Callable[[Svg, Cell, int, int], None]) -> Svg:
    """Lay out the ranked methods against one another; the diagonal stays empty."""
    step, top = _cell_size(teams, across=_NAMES), 8.0
    size = step * teams
    svg = Svg(max(_NAMES + size + 10, _SIDE), top + size + _slant_room(scene, teams), label=label)
    name_column(svg, (row.team for row in scene.rows[:teams]), right=_NAMES - 8, top=top, height=step)
    for i in range(teams):
        _slanted(svg, scene, i, _NAMES + step * (i + 0.5), top + size + 14)
        for j in range(teams):
            if i != j:
                draw(svg, Cell(_NAMES + step * j, top + step * i, step, step), i, j)
    return svg


def _p_value(value: float) -> str:
    if value < 0.001:
        return "<.001"
    return "1" if value >= 0.995 else f"{value:.3f}"[1:] if value < 0.1 else f"{value:.2f}"[1:]


def rank_heatmap(scene: Scene, analysis: Analysis) -> Figure:
    """Draw how often each method took each rank in single cases."""
    ranks, counted = _overall_ranks(analysis)
    teams = scene.ranked
    counts = np.zeros((teams, teams), dtype=int)
    for team in range(teams):
        counts[team] = np.bincount(ranks[counted, team] - 1, minlength=teams)
    left, top = _NAMES, 8.0
    step = _cell_size(teams, across=_NAMES)
    width = step * teams
    height = min(max(row_height(teams), 17), step)
    label = "Share of cases in which each method took each rank"
    svg = Svg(max(left + width + 10, _SIDE), top + height * teams + 40, label=label)
    most = counts.max() or 1
    name_column(svg, (row.team for row in scene.division.ranked), right=left - 8, top=top, height=height)
    for team, rank in np.argwhere(counts).tolist():
        count = int(counts[team, rank])
        cell = Cell(left + step * rank, top + height * team, step, height)
        tip = f"{scene.rows[team].team}: rank {rank + 1} in {count} of {counted.sum()} cases"
        heat_cell(svg, cell, 0.08 + 0.92 * count / most, shown=str(count), tip=tip, row=team)
    for rank in _rank_ticks(teams):
        svg.text(left + step * (rank - 0.5), top + height * teams + 16, str(rank), "tick mid")
    svg.text(left + width / 2, top + height * teams + 34, "rank in a case", "tick mid")
    return Figure(
        "rank-heatmap",
        "Does a method win often, or just never lose badly?",
        "How many cases gave a method each rank, by its combined rank there; methods that tie in a case "
        "share the better rank.",
        scrolled(svg),
        wide=scene.ranked > _NARROW_TEAMS,
    )


def rank_lines(scene: Scene, analysis: Analysis) -> Figure:
    """Draw how the order changes with the scheme."""
    scheme = scene.leaderboard.scheme
    orders: list[tuple[str, Ints]] = [("as ranked", analysis.ranking.ranks)]
    names = {
        "rank-then-average": "rank, average",
        "average-then-rank": "average, rank",
        "test-then-rank": "test, rank",
    }
    for order, title in names.items():
        if order != scheme.order:
            other = scheme.model_copy(update={"order": order})
            orders.append((title, rank_teams(analysis.table, other).ranks))
    if len(analysis.table.metrics) > 1:
        for index, metric in enumerate(analysis.table.metrics):
            part = ValueTable((metric,), analysis.table.values[[index]], analysis.table.counted[[index]])
            orders.append((f"{metric.title}", rank_teams(part, scheme).ranks))
    teams = scene.ranked
    height = max(row_height(teams), 17.0)
    width = min(_WIDE, 2 * _NAMES + _SCHEME_WIDTH * len(orders))
    left, right, top = _NAMES, width - _NAMES, 40.0
    svg = Svg(width, top + teams * height + 20, label="Ranks under different schemes, a line per method")
    x = Linear(0, len(orders) - 1, left + 16, right - 16)
    y = Linear(0.5, teams + 0.5, top, top + teams * height)
    for index, (title, _) in enumerate(orders):
        svg.line(x(index), top, x(index), top + teams * height)
        for line, word in enumerate(_two_lines(title)):
            svg.text(x(index), top - 22 + 13 * line, word, "tick mid")
    places = [_spread_ties(ranks) for _, ranks in orders]
    for team in reversed(range(teams)):
        points = [(x(index), y(place[team])) for index, place in enumerate(places)]
        said = ", ".join(f"{title} {ranks[team]}" for title, ranks in orders)
        svg.path(points, f"bump {scene.colour(team)}", tip=f"{scene.rows[team].team}: {said}", data_t=team)
        svg.dots(points, f"big {scene.colour(team)}", data_t=team)
    for team in range(teams):
        own = f"{analysis.ranking.ranks[team]}"
        name = f"{short(scene.rows[team].team, 17)}  {own}"
        svg.name(left - 4, y(places[0][team]) + 4, name, "end name", data_t=team)
        last = f"{orders[-1][1][team]}  {short(scene.rows[team].team, 17)}"
        svg.name(right + 4, y(places[-1][team]) + 4, last, "name", data_t=team)
    return Figure(
        "schemes",
        "Would another ranking scheme crown another winner?",
        "Ranks by the challenge's scheme, by the other orders of ranking and averaging, and by each metric "
        "alone. Tied methods share a rank and are drawn one below the other.",
        scrolled(svg),
        wide=True,
    )


def _overall_ranks(analysis: Analysis) -> tuple[Ints, Bools]:
    counted = np.asarray((case_ranks(analysis.table) > 0).any(axis=(0, 2)))
    return competition_ranks(analysis.case_scores), counted


def _spread_ties(ranks: Ints) -> list[float]:
    """Return a place of its own for every team: ties one below the other, in ranked order."""
    order = np.argsort(ranks, kind="stable")
    places = np.empty(len(ranks))
    places[order] = np.arange(1, len(ranks) + 1)
    return [float(place) for place in places]


def _rank_ticks(teams: int) -> Sequence[int]:
    if teams <= 20:
        return range(1, teams + 1)
    return [1, *range(5, teams + 1, 5)]


def _slanted(svg: Svg, scene: Scene, team: int, x: float, y: float) -> None:
    name = scene.rows[team].team
    svg.name(x, y, name, "end name", transform=f"rotate(-45 {x:.1f} {y:.1f})", data_t=team)


def _cell_size(teams: int, *, across: float) -> float:
    """Return the side of a square figure's cells: as wide as the figure allows, no bigger than reads well."""
    return min(((_WIDE if teams > _NARROW_TEAMS else _SIDE) - across - 12) / teams, 52.0)


def _slant_room(scene: Scene, teams: int) -> float:
    longest = max(len(short(row.team)) for row in scene.rows[:teams])
    return 30 + 4.9 * longest


def _two_lines(title: str) -> tuple[str, str]:
    first, _, rest = title.partition(" ")
    return (first, rest) if rest else ("", first)
