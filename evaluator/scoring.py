"""How to score: one object that goes from the command line down to each label."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

from evaluator.labels import LabelTable
from evaluator.metrics import DEFAULT_METRICS, METRICS, Metric, keys_of
from evaluator.profiles import Profile
from evaluator.shipped import profile_named
from evaluator.volume import DEFAULT_MAX_BYTES


@dataclass(frozen=True)
class Scoring:
    """What is scored and by which rules.

    Attributes:
        labels: The labels and their tolerances; a subset of a table scores only that.
        profile: `exact`, `flare`, or rules of your own.
        metrics: Keys of the metrics, each once; aliases are turned into keys.
        threads: How many threads may work on a case; by default one per usable core.
        max_bytes: Limit on the memory for reading each volume.

    Raises:
        RequestError: There is no such profile or metric.
    """

    labels: LabelTable
    _: KW_ONLY
    profile: str | Profile = "exact"
    metrics: tuple[str, ...] = DEFAULT_METRICS
    threads: int | None = None
    max_bytes: int = DEFAULT_MAX_BYTES

    def __post_init__(self) -> None:
        object.__setattr__(self, "metrics", keys_of(self.metrics))
        _ = self.rules

    @cached_property
    def rules(self) -> Profile:
        """The profile's rules for these labels."""
        if isinstance(self.profile, Profile):
            return self.profile
        return profile_named(self.profile, self.labels.name)

    @property
    def label_metrics(self) -> tuple[Metric, ...]:
        """The metrics that are a number per label."""
        return tuple(METRICS[key] for key in self.metrics if METRICS[key].facts.scope == "label")

    @property
    def case_metrics(self) -> tuple[Metric, ...]:
        """The metrics that are a number per case."""
        return tuple(METRICS[key] for key in self.metrics if METRICS[key].facts.scope == "case")

    def annotated(self, values: Collection[int] | None) -> Scoring:
        """Return the same for the labels that a partially annotated case holds; `None` for all."""
        return self if values is None else replace(self, labels=self.labels.annotated(values))
