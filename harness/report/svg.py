"""Small vector drawings: escaped elements, scales, axes. Colours come from the page's style sheet.

Drawn here rather than by a plotting library so that one figure serves light, dark and print, text stays text,
and a figure is a few kilobytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict, Unpack

from markupsafe import Markup, escape

from harness.text import printable

Scale = Callable[[float], float]


class Extras(TypedDict, total=False):
    """What any element may carry: a tooltip, the row that it belongs to, a style, a transformation."""

    tip: str | None
    data_t: int | None
    style: str
    transform: str


LETTER = 7.2
"""What a letter of a name takes at most on average, in pixels."""
LABEL_SIGNS = 24
"""Longer names are cut in drawings; the whole name is in the tooltip."""


class Svg:
    """A drawing under construction. Sizes are in CSS pixels; the page scales it to its column."""

    def __init__(self, width: float, height: float, *, label: str) -> None:
        self.width, self.height = width, height
        self.label = label
        self._parts: list[str] = []

    def add(
        self, tag: str, attributes: dict[str, object], *, text: str | None = None, **extras: Unpack[Extras]
    ) -> None:
        """Add an element; attributes that are None are left out."""
        tip = extras.pop("tip", None)
        self._parts.append(f"<{tag}{_attributes(attributes)}{_attributes(dict(extras))}")
        if text is None and tip is None:
            self._parts.append("/>")
            return
        self._parts.append(">")
        if tip is not None:
            self._parts.append(f"<title>{escape(printable(tip))}</title>")
        if text is not None:
            self._parts.append(str(escape(printable(text))))
        self._parts.append(f"</{tag}>")

    def line(
        self, x1: float, y1: float, x2: float, y2: float, class_: str = "grid", **extras: Unpack[Extras]
    ) -> None:
        """Add a straight line."""
        self.add("path", {"d": f"M{_n(x1)} {_n(y1)}L{_n(x2)} {_n(y2)}", "class": class_}, **extras)

    def path(self, points: Iterable[tuple[float, float]], class_: str, **extras: Unpack[Extras]) -> None:
        """Add a line through points."""
        steps = " ".join(f"{_n(x)} {_n(y)}" for x, y in points)
        self.add("path", {"d": f"M{steps}", "class": class_}, **extras)

    def dots(self, points: Iterable[tuple[float, float]], class_: str, **extras: Unpack[Extras]) -> None:
        """Add many dots as one element; the line's width is their diameter."""
        marks = "".join(f"M{_n(x)} {_n(y)}h0" for x, y in points)
        self.add("path", {"d": marks, "class": f"dots {class_}"}, **extras)

    def shape(self, d: str, class_: str, **extras: Unpack[Extras]) -> None:
        """Add a path by its commands."""
        self.add("path", {"d": d, "class": class_}, **extras)

    def rect(
        self, x: float, y: float, width: float, height: float, class_: str, **extras: Unpack[Extras]
    ) -> None:
        """Add a rectangle."""
        place = {"x": _n(x), "y": _n(y), "width": _n(width), "height": _n(height)}
        self.add("rect", {**place, "class": class_}, **extras)

    def circle(self, x: float, y: float, radius: float, class_: str, **extras: Unpack[Extras]) -> None:
        """Add a circle."""
        self.add("circle", {"cx": _n(x), "cy": _n(y), "r": _n(radius), "class": class_}, **extras)

    def text(self, x: float, y: float, text: str, class_: str = "", **extras: Unpack[Extras]) -> None:
        """Add a text; cut it beforehand with `short` if a team chose it."""
        self.add("text", {"x": _n(x), "y": _n(y), "class": class_ or None}, text=text, **extras)

    def name(self, x: float, y: float, name: str, class_: str = "end", **extras: Unpack[Extras]) -> None:
        """Add a name that somebody else chose: cut if long, whole in its tooltip."""
        extras["tip"] = name
        self.add("text", {"x": _n(x), "y": _n(y), "class": class_}, text=short(name), **extras)

    def markup(self) -> Markup:
        """Return the finished drawing."""
        head = _attributes(
            {
                "viewBox": f"0 0 {_n(self.width)} {_n(self.height)}",
                "width": _n(self.width),
                "height": _n(self.height),
                "role": "img",
                "aria-label": printable(self.label),
            }
        )
        return Markup(f"<svg{head}>{''.join(self._parts)}</svg>")


def short(name: str, signs: int = LABEL_SIGNS) -> str:
    """Return a name cut to a length."""
    clean = printable(name)
    return clean if len(clean) <= signs else f"{clean[: signs - 1]}…"


@dataclass(frozen=True)
class Linear:
    """Maps values from `low` to `high` to positions from `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value."""
        span = self.high - self.low or 1.0
        return self.start + (value - self.low) / span * (self.end - self.start)

    def ticks(self, most: int = 5) -> list[float]:
        """Return round values within the domain."""
        span = self.high - self.low
        if span <= 0:
            return [self.low]
        rough = span / most
        power = 10 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]


@dataclass(frozen=True)
class Log:
    """Maps positive values to positions by their logarithms."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """Return the position of a value; what is below the domain sits at its edge."""
        low, high = math.log(self.low), math.log(self.high)
        share = (math.log(max(value, self.low)) - low) / ((high - low) or 1.0)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return 1, 2 and 5 times powers of ten; more within one decade, powers alone over many."""
        decades = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        factors: tuple[float, ...] = (1, 2, 5) if len(decades) <= 4 else (1,)
        if self.high < 8 * self.low:
            factors = (1, 1.2, 1.5, 2, 3, 4, 5, 7) if self.high < 3 * self.low else (1, 1.5, 2, 3, 5, 7)
        values = [factor * 10.0**power for power in decades for factor in factors]
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]


def log_around(values: Sequence[float], start: float, end: float, *, room: float = 1.25) -> Log:
    """Return a logarithmic scale that holds the positive values with some room."""
    positive = [value for value in values if value > 0] or [1.0]
    return Log(min(positive) / room, max(positive) * room, start, end)


def x_axis(svg: Svg, scale: Linear | Log, top: float, bottom: float, shown: Callable[[float], str]) -> None:
    """Draw vertical grid lines with their values below."""
    for tick in scale.ticks():
        svg.line(scale(tick), top, scale(tick), bottom)
        svg.text(scale(tick), bottom + 14, shown(tick), "tick mid")


def y_axis(svg: Svg, scale: Linear | Log, left: float, right: float, shown: Callable[[float], str]) -> None:
    """Draw horizontal grid lines with their values at the left."""
    for tick in scale.ticks():
        svg.line(left, scale(tick), right, scale(tick))
        svg.text(left - 6, scale(tick) + 4, shown(tick), "tick end")


def _attributes(attributes: dict[str, object]) -> str:
    return "".join(
        f' {name.replace("_", "-")}="{escape(str(value))}"'
        for name, value in attributes.items()
        if value is not None
    )


def _n(value: float) -> str:
    """Return a coordinate with one decimal at most."""
    return f"{value:.1f}".removesuffix(".0")
