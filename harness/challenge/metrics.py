"""What is known of every metric that a challenge may rank: the evaluator's, and what the harness measures.

The evaluator's metrics say how good a prediction is; their facts stand in its own table. Those here are
measured while a container runs. Tables, files, figures and exports are made from these facts, so a metric
that is in one of the two tables is in all of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evaluator.errors import RequestError, choose_one_of
from evaluator.metrics import METRICS, MetricFacts, metric_named
from harness import text

if TYPE_CHECKING:
    from harness.challenge.limits import Limits


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A metric that is measured while a case runs.

    Attributes:
        facts: Its row in the table.
        at_limits: What a case would measure that used all that its limits allow: the value of a failed case
            unless the challenge names another; infinite where nothing limits it.
        negligible: What nobody waits or pays for: where a challenge names no tolerance, less counts as this
            much; None where every difference counts.
    """

    facts: MetricFacts
    at_limits: Callable[[Limits], float]
    negligible: float | None = None


def _measured(
    key: str,
    title: str,
    unit: str,
    at_limits: Callable[[Limits], float],
    *,
    negligible: float | None = None,
    host_bound: bool = False,
) -> Measured:
    # Memory is the submission's own; whatever holds time depends on the host as much.
    short = key.removesuffix("_bytes").removesuffix("_s")
    facts = MetricFacts(
        key=key,
        title=title,
        unit=unit,
        direction="lower",
        scope="case",
        failed=math.inf,
        aliases=(short,),
        host_bound=host_bound,
    )
    return Measured(facts=facts, at_limits=at_limits, negligible=negligible)


def _gpu_bytes(limits: Limits) -> float:
    return math.inf if limits.gpu_memory_bytes is None else float(limits.gpu_memory_bytes)


NEGLIGIBLE_S = 10.0
NEGLIGIBLE_BYTES = 2.0 * 1024**3
"""By how much time and memory may differ without deciding a ranking, unless the challenge says otherwise."""

MEASURED: Mapping[str, Measured] = {
    metric.facts.key: metric
    for metric in (
        _measured(
            "runtime_s",
            "run time",
            "s",
            lambda limits: limits.time_s,
            negligible=NEGLIGIBLE_S,
            host_bound=True,
        ),
        _measured(
            "peak_memory_bytes",
            "peak memory",
            "bytes",
            lambda limits: float(limits.memory_bytes),
            negligible=NEGLIGIBLE_BYTES,
        ),
        _measured(
            "peak_working_set_bytes",
            "peak working set",
            "bytes",
            lambda limits: float(limits.memory_bytes),
            negligible=NEGLIGIBLE_BYTES,
        ),
        _measured(
            "memory_auc_byte_s",
            "memory AUC",
            "bytes s",
            lambda limits: limits.memory_bytes * limits.time_s,
            negligible=NEGLIGIBLE_BYTES * NEGLIGIBLE_S,
            host_bound=True,
        ),
        _measured(
            "cpu_s", "CPU time", "s", lambda limits: math.inf, negligible=NEGLIGIBLE_S, host_bound=True
        ),
        _measured(
            "cpu_utilisation_auc_percent_s",
            "CPU utilisation AUC",
            "% s",
            lambda limits: 100 * limits.time_s,
            negligible=100 * NEGLIGIBLE_S,
            host_bound=True,
        ),
        _measured("throttled_s", "throttled time", "s", lambda limits: limits.time_s, host_bound=True),
        _measured(
            "peak_gpu_memory_bytes", "peak GPU memory", "bytes", _gpu_bytes, negligible=NEGLIGIBLE_BYTES
        ),
        _measured(
            "gpu_memory_auc_byte_s",
            "GPU memory AUC",
            "bytes s",
            lambda limits: _gpu_bytes(limits) * limits.time_s,
            negligible=NEGLIGIBLE_BYTES * NEGLIGIBLE_S,
            host_bound=True,
        ),
    )
}
"""The measured metrics by key, which is the name of the measurement in the records."""


def metric_keys() -> list[str]:
    """Return the keys of all metrics, the evaluator's first."""
    return [*METRICS, *MEASURED]


def facts_of(key: str) -> MetricFacts:
    """Return the facts of a metric by its key or an alias.

    Raises:
        ValueError: there is no such metric; the message names those that there are.
    """
    if key in MEASURED:
        return MEASURED[key].facts
    if key in METRICS:
        return METRICS[key].facts
    wanted = key.strip().lower()
    for measured, metric in MEASURED.items():
        if wanted == measured or wanted in metric.facts.aliases:
            return metric.facts
    try:
        return metric_named(wanted).facts
    except RequestError:
        choice = choose_one_of(key, metric_keys())
        raise ValueError(f"there is no metric {key!r}. {choice}") from None


def is_measured(key: str) -> bool:
    """Whether a metric is measured while a container runs; every other is computed from its prediction."""
    return key in MEASURED


def is_fraction(facts: MetricFacts) -> bool:
    """Whether a metric lies between 0, the worst, and 1, the best, and is shown in percent."""
    return facts.percent and facts.direction == "higher"


def shown_value(facts: MetricFacts, value: float | None) -> str:
    """Return a value as tables show it, the unit beside it where headings do not say it."""
    if value is None:
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    shown = _BY_UNIT.get(facts.unit) if is_measured(facts.key) else None
    if shown is not None:
        return shown(value)
    return f"{100 * value if facts.percent else value:.{facts.decimals}f}"


def with_unit(facts: MetricFacts, value: float | None) -> str:
    """Return a value as it stands alone in a sentence, with its unit."""
    shown = shown_value(facts, value)
    unit = heading_unit(facts)
    return shown if value is None or not unit else f"{shown} {unit}"


def in_a_line(facts: MetricFacts, value: float | None) -> str:
    """Return a metric's name and value as progress and checks print them, percent with one decimal."""
    shown = f"{100 * value:.1f} %" if value is not None and facts.percent else with_unit(facts, value)
    return f"{facts.title} {shown}"


def heading_unit(facts: MetricFacts) -> str:
    """Return the unit that a heading names; empty where each cell names its own."""
    return "" if is_measured(facts.key) else "%" if facts.percent else facts.unit


_BY_UNIT: Mapping[str, Callable[[float | None], str]] = {
    "s": text.seconds,
    "bytes": text.size,
    "bytes s": text.byte_seconds,
    "% s": lambda value: f"{value:,.0f} % s",
}
