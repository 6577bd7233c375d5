"""A row of the table of metrics: what is known of it, what it needs, and the function."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from evaluator.metrics.facts import MetricFacts


@dataclass(frozen=True, kw_only=True)
class EmptyRule:
    """What a metric is worth where there is nothing to compare; NaN leaves it out of means.

    `diagonal` is the longest distance in the volume, in the unit that the profile measures distances in;
    `computed` leaves it to the function of a metric that is always computed.

    Attributes:
        both: The label is in neither volume.
        reference: The reference lacks it, the prediction has it.
        prediction: The prediction lacks it, the reference has it.
    """

    both: float | Literal["diagonal", "computed"]
    reference: float | Literal["diagonal", "computed"]
    prediction: float | Literal["diagonal", "computed"]


SHARE = EmptyRule(both=1.0, reference=0.0, prediction=0.0)
"""Of metrics from 0, nothing right, to 1, all right."""

DISTANCE = EmptyRule(both=math.nan, reference=math.inf, prediction=math.inf)
"""Of distances: a label in one volume only is infinitely far away; in neither, there is no distance."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric.

    Attributes:
        facts: Its name, unit, direction and so on.
        needs: Names of what the function takes, in its order. They are attributes of `LabelPair` for a
            metric of scope `label`, of `CasePair` for one of scope `case`. Each is computed once, and only if
            a requested metric needs it. `label` and `rules` are needs like others, so that what a metric's
            convention leaves open (a limit, a connectivity) is data of the label or the profile.
        compute: From the needs to the number. Called for a label that both volumes hold; for a case, always.
        empty: What it is worth where a label is missing; a profile may say otherwise.
        always: The function is called for missing labels, too, as counts and volumes are known there; `empty`
            then holds where it gives NaN and the label is in neither, and where a profile names the metric.
    """

    facts: MetricFacts
    needs: tuple[str, ...]
    compute: Callable[..., float]
    empty: EmptyRule = SHARE
    always: bool = False

    def of(self, pair: object) -> float:
        """Return the number for a label's or case's pair."""
        return float(self.compute(*(getattr(pair, need) for need in self.needs)))
