"""How a challenge ranks: its metrics, and how their values per case become one order of teams."""

from __future__ import annotations

import math
from enum import StrEnum
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator
from pydantic.json_schema import WithJsonSchema

from evaluator.metrics import MetricFacts
from harness.challenge.limits import Record
from harness.challenge.metrics import MEASURED, facts_of, is_measured
from harness.text import bytes_of, seconds_of


def _infinity_in_words(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


Number = Annotated[
    float,
    PlainSerializer(_infinity_in_words, return_type=float | str, when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": ["inf", "-inf"]}]}),
]
"""A number that may be infinite, which JSON writes as the text "inf"."""


class Direction(StrEnum):
    """Whether more is better."""

    HIGHER = "higher"
    LOWER = "lower"


def _key(value: object) -> object:
    return facts_of(value).key if isinstance(value, str) else value


class Metric(Record):
    """One metric of a ranking.

    `metric` is the key or an alias of any metric, computed or measured. `labels` names a group of the
    challenge's labels whose mean per case is ranked (`None` for metrics that are not about labels). A value
    on the good side of `tolerance` counts as the tolerance; 0 tolerates nothing of a cost. `failed` is the
    value of a case that did not succeed. Direction, tolerance and failed value are the metric's own unless
    the challenge says otherwise.
    """

    metric: Annotated[str, BeforeValidator(_key)]
    labels: str | None = None
    direction: Direction
    weight: Annotated[float, Field(gt=0)] = 1.0
    tolerance: float | None = None
    failed: Number

    @property
    def key(self) -> str:
        """The column's name, such as `dsc:organs` or `runtime_s`."""
        return f"{self.metric}:{self.labels}" if self.labels else self.metric

    @cached_property
    def facts(self) -> MetricFacts:
        """What is known of the metric."""
        return facts_of(self.metric)

    @property
    def title(self) -> str:
        """How the metric is called in headings, such as `DSC organs`."""
        return f"{self.facts.title} {self.labels}" if self.labels else self.facts.title

    @property
    def measured(self) -> bool:
        """Whether it is measured while a container runs."""
        return is_measured(self.metric)

    @model_validator(mode="before")
    @classmethod
    def _from_the_facts(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("metric"), str):
            return values
        try:
            facts = facts_of(values["metric"])
        except ValueError:
            return {"direction": Direction.HIGHER, "failed": 0.0} | values  # `_key` tells of it
        filled: dict[str, Any] = {"direction": facts.direction, "failed": facts.failed} | values
        if facts.key in MEASURED:
            filled.setdefault("tolerance", MEASURED[facts.key].negligible)
        reader = {"s": seconds_of, "bytes": bytes_of}.get(facts.unit)
        for name in ("failed", "tolerance"):
            text = filled.get(name)
            if reader is not None and isinstance(text, str) and text not in ("inf", "-inf"):
                filled[name] = reader(text)
        return filled

    @model_validator(mode="after")
    def _labels_where_needed(self) -> Metric:
        if (self.facts.scope == "label") != (self.labels is not None):
            raise ValueError(
                f"{self.metric} is a number per label: `labels` must name a group of labels"
                if self.labels is None
                else f"{self.metric} is a number per case: it takes no `labels`"
            )
        return self


def _one_or_word(value: object) -> object:
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    return "1" if not isinstance(value, bool) and value in (1, 1.0) else value


BothEmpty = Annotated[Literal["not counted", "1", "nan"], BeforeValidator(_one_or_word)]
"""What a label counts in a case that does not hold it."""
Ties = Literal["mean", "best"]
"""Which rank equals share: the mean of theirs, or the better one."""


class RankingScheme(Record):
    """How per-case values become one order of teams."""

    order: Literal["rank-then-average", "average-then-rank", "test-then-rank"] = "rank-then-average"
    metrics: tuple[Metric, ...] = Field(min_length=1)
    divide_by_teams: bool = Field(
        False, description="FLARE21: the averaged rank is divided by the number of teams"
    )
    ties: Ties = Field("mean", description="which rank equals share within a metric: the mean, or the best")
    both_empty: BothEmpty = Field(
        "not counted",
        description="what a label counts in a case whose reference lacks it: nothing for anyone, so that "
        "false alarms are counted apart; 1, so that none predicted is a success and a false alarm a failure; "
        "or nan, the same, but only in cases where some team raised a false alarm",
    )
    repeated: Literal["newest", "ladder"] = Field(
        "newest",
        description="which of a team's runs counts: the newest, or the last that beat those before it by "
        "more than noise",
    )

    @model_validator(mode="after")
    def _each_once(self) -> RankingScheme:
        keys = [metric.key for metric in self.metrics]
        if twice := [key for key in dict.fromkeys(keys) if keys.count(key) > 1]:
            raise ValueError(f"{twice[0]} is ranked twice; give it a weight instead")
        return self
