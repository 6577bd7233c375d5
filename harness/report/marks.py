"""The marks that figures are made of: box, strip, heat cell, name column, panel grid, and what explains them.

A figure lays out; a mark draws one thing the same way everywhere: its classes, its tooltip, its row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

from harness.leaderboard.values import Bools, Floats
from harness.report.axes import Axis
from harness.report.svg import LETTER, Linear, Log, Svg, short
from harness.text import printable

_KNOTS = ((0.0, 0.0), (0.5, 0.25), (0.8, 0.55), (0.9, 0.75), (1.0, 1.0))
"""Where a fraction lies on the colour scale: no value is cut off, and good scores are told apart best."""


_MOST_TABS = 4


@dataclass(frozen=True)
class Mine:
    """Whose mark it is: what makes it light up with its method.

    Attributes:
        row: The method's row.
        colour: Its style class.
        name: Its name, which tooltips open with.
    """

    row: int
    colour: str
    name: str


@dataclass(frozen=True)
class Line:
    """A horizontal line of a figure that a mark is drawn on.

    Attributes:
        middle: Its y.
        height: The room that it has.
    """

    middle: float
    height: float


def box(svg: Svg, scale: Linear | Log, line: Line, five: Sequence[float], mine: Mine, *, tip: str) -> None:
    """Draw whiskers, box and median.

    Args:
        svg: The drawing.
        scale: The axis.
        line: Where.
        five: Low whisker, first quarter, median, third quarter, high whisker.
        mine: Whose it is.
        tip: What its tooltip says.
    """
    low, first, median, third, high = (scale(value) for value in five)
    half, y = min(line.height * 0.3, 9.0), line.middle
    ends = "".join(f"M{end:.1f} {y - half / 2:.1f}v{half:.1f}" for end in (low, high))
    svg.shape(f"M{low:.1f} {y:.1f}H{high:.1f}{ends}", f"whisker {mine.colour}", data_t=mine.row)
    width = max(third - first, 2.0)
    tip = f"{mine.name}: {tip}"
    svg.rect(first, y - half, width, 2 * half, f"box {mine.colour}", tip=tip, data_t=mine.row)
    svg.line(median, y - half, median, y + half, f"median {mine.colour}", data_t=mine.row)


def diamond(svg: Svg, x: float, y: float, mine: Mine) -> None:
    """Mark a mean."""
    svg.shape(f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5z", f"mean {mine.colour}", data_t=mine.row)


def strip(svg: Svg, scale: Linear, line: Line, cases: Floats, failed: Bools, mine: Mine) -> None:
    """Scatter cases over a line, always the same way, failed ones as crosses."""
    scatter = np.random.default_rng(len(cases)).uniform(-0.38, 0.38, len(cases)) * line.height
    places = [(scale(value), line.middle + shift) for value, shift in zip(cases, scatter, strict=True)]
    fine = [place for place, lost in zip(places, failed, strict=True) if not lost]
    if fine:
        svg.dots(fine, f"faint {mine.colour}", data_t=mine.row)
    if failed.any():
        lost = [place for place, gone in zip(places, failed, strict=True) if gone]
        crosses = "".join(f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6" for x, y in lost)
        svg.shape(crosses, "cross", data_t=mine.row)


@dataclass(frozen=True)
class Cell:
    """A field of a grid.

    Attributes:
        x: Its left.
        y: Its top.
        width: Its width with the gap to the next one.
        height: Its height with the gap.
    """

    x: float
    y: float
    width: float
    height: float


def heat_cell(
    svg: Svg,
    cell: Cell,
    depth: float,
    *,
    shown: str = "",
    tip: str | None = None,
    row: int | None = None,
    wrong: bool = False,
) -> None:
    """Draw a field the deeper the larger, with a number where it has room.

    Args:
        svg: The drawing.
        cell: Where.
        depth: 0 to 1.
        shown: What stands in it.
        tip: Its tooltip.
        row: The method that it belongs to.
        wrong: Whether more is worse: then it has the other colour.
    """
    style = f"--d:{100 * depth:.0f}%"
    gap = 1 if cell.width > 4 else 0.3
    size = (cell.width - gap, cell.height - gap)
    svg.rect(cell.x, cell.y, *size, f"cell {'wrong' if wrong else 'heat'}", style=style, tip=tip, data_t=row)
    if shown and cell.width >= 7.2 * len(shown) + 4 and cell.height >= 15:
        ink = "cellnum light" if depth > 0.6 else "cellnum"
        svg.text(cell.x + cell.width / 2, cell.y + cell.height / 2 + 4, shown, ink)


def name_column(svg: Svg, names: Iterable[str], *, right: float, top: float, height: float) -> None:
    """Write the methods' names, a line each, cut to the room left of `right`."""
    for row, name in enumerate(names):
        cut = short(name, int(right / LETTER))
        tip = None if cut == name else name
        svg.text(right, top + height * (row + 0.5) + 4, cut, "end name", tip=tip, data_t=row)


def panel_grid(panels: Iterable[Svg], *, least: int = 300) -> Markup:
    """Put drawings side by side, as many as the page has room for.

    Args:
        panels: The drawings.
        least: The width in pixels below which a panel moves to the next line.
    """
    drawn = Markup("").join(panel.markup() for panel in panels)
    return Markup(f'<div class="panels" style="--least:{least}px">{drawn}</div>')


def tabs(group: str, options: Sequence[tuple[str, Markup]]) -> Markup:
    """Show one of several things, by a switch; by a list where they are many.

    Args:
        group: A name that is unique in the page.
        options: Titles and what they show.
    """
    keys = [f"{group}-{place}" for place in range(len(options))]
    bodies = "".join(
        f'<div data-tab="{key}"{" hidden" if place else ""}>{body}</div>'
        for place, (key, (_, body)) in enumerate(zip(keys, options, strict=True))
    )
    titles = [escape(printable(title)) for title, _ in options]
    if len(options) > _MOST_TABS:
        choices = "".join(
            f'<option value="{key}">{title}</option>' for key, title in zip(keys, titles, strict=True)
        )
        return Markup(
            f'<div class="choice"><select aria-label="What is shown">{choices}</select></div>{bodies}'
        )
    marks = [" checked", *[""] * len(keys)]
    choices = "".join(
        f'<label><input type="radio" name="{group}" value="{key}"{mark}>{title}</label>'
        for key, title, mark in zip(keys, titles, marks, strict=False)
    )
    switch = f'<div class="switch" role="radiogroup" aria-label="What is shown">{choices}</div>'
    return Markup(f"{switch if len(options) > 1 else ''}{bodies}")


def two_widths(broad: Svg, narrow: Svg) -> Markup:
    """Return a drawing made twice: for a page, and for a phone, where it need not scroll."""
    return Markup('<div class="broad">{}</div><div class="narrow">{}</div>').format(
        scrolled(broad), scrolled(narrow)
    )


def scrolled(svg: Svg) -> Markup:
    """Return a drawing that keeps its text readable on a narrow screen: there it scrolls sideways."""
    least = f"--least:{0.74 * svg.width:.0f}px"
    label = escape(svg.label)
    return Markup(
        f'<div class="scroll drawn" tabindex="0" role="region" aria-label="{label}" style="{least}">'
        f"{svg.markup()}</div>"
    )


def heat_position(fraction: float) -> float:
    """Return where a fraction lies on the colour scale, 0 to 1; see `heat_legend` for how it is explained."""
    known, places = zip(*_KNOTS, strict=True)
    return float(np.interp(fraction, known, places))


def heat_legend(axis: Axis, *, fraction: bool) -> Markup:
    """Explain the colour scale: its whole length, with values under it."""
    values = [0.0, 0.5, 0.8, 0.9, 1.0] if fraction else [axis.high, axis.low]
    steps = [heat_position(value) for value in values] if fraction else [0.0, 1.0]
    said = "".join(
        f'<span style="left:{100 * place:.0f}%">{escape(axis.tick(value))}</span>'
        for value, place in zip(values, steps, strict=True)
    )
    return Markup(f'<div class="scale" aria-hidden="true"><i></i>{said}</div>')
