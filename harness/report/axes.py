"""The axis that a metric's values are drawn on: percent for fractions, its own unit for all others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from evaluator.metrics import MetricFacts
from harness.challenge.metrics import heading_unit, is_fraction, shown_value
from harness.leaderboard.values import Bools, Floats


@dataclass(frozen=True)
class Axis:
    """How a metric's values are drawn.

    Attributes:
        low: The axis's lower end.
        high: Its upper end; what lies beyond the ends is drawn at them.
        tick: How a tick reads.
        value: How a value reads.
    """

    low: float
    high: float
    tick: Callable[[float], str]
    value: Callable[[float], str]

    def held(self, values: Floats) -> Floats:
        """Return values moved onto the axis."""
        return np.clip(values, self.low, self.high)

    def at(self, value: float) -> float:
        """Return one value moved onto the axis."""
        return min(max(value, self.low), self.high)


def axis_of(facts: MetricFacts, values: Floats, lost: Bools) -> Axis:
    """Return the axis of a metric.

    Args:
        facts: The metric.
        values: What is drawn; NaN where there is nothing.
        lost: Of the same shape: the failed cases, which do not stretch the axis.
    """

    def shown(value: float) -> str:
        return shown_value(facts, value)

    if is_fraction(facts):
        return Axis(floor_of(values, lost), 1.0, percent, shown)
    known = values[np.isfinite(values) & ~lost]
    high = float(np.quantile(known, 0.99)) if len(known) else 1.0
    low = min(0.0, float(known.min())) if len(known) else 0.0
    return Axis(low, high if high > low else low + 1.0, lambda value: f"{value:.3g}", shown)


def floor_of(values: Floats, lost: Bools) -> float:
    """Return where a score axis may start: below what all but 1 % of the cases that succeeded reach."""
    known = values[~np.isnan(values) & ~lost]
    if not len(known):
        return 0.0
    return float(np.clip(np.floor(10 * np.quantile(known, 0.01) - 0.2) / 10, 0.0, 0.9))


def percent(value: float) -> str:
    """Return a fraction as a whole percentage."""
    return f"{100 * value:.0f}"


def unit_after(facts: MetricFacts) -> str:
    """Return a metric's unit after a comma, as headings have it; empty where each value names its own."""
    unit = heading_unit(facts)
    return f", {unit}" if unit else ""


def unit_in_words(facts: MetricFacts) -> str:
    """Return ` in percent` or ` in mm`; empty for a plain number."""
    return " in percent" if facts.percent else f" in {facts.unit}" if facts.unit else ""
