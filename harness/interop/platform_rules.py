"""A challenge's TOML as the scoring rules that the evaluator's platform programs read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from evaluator.metrics import MetricFacts
from evaluator.platforms.rules import Column, PlatformRules
from harness.challenge import Challenge, Metric
from harness.challenge.metrics import heading_unit
from harness.challenge.model import column_name
from harness.data.dataset import Dataset

RUNTIME = "runtime_s"
"""The only measured metric that a platform tells of."""


def platform_rules(
    challenge: Challenge, dataset: Dataset | None = None, *, output_slug: str = ""
) -> PlatformRules:
    """Return what a platform computes of a challenge, and which means it reports.

    The columns are the harness's own: their keys are those of `leaderboard.csv`. What only a host of ours can
    measure, memory and the like, is left out.

    Args:
        challenge: The challenge.
        dataset: Tells which cases are annotated in part.
        output_slug: Which output of a grand-challenge algorithm is scored.
    """
    columns: dict[str, Column] = {}
    for column in (*_ranked(challenge), *_others(challenge)):
        columns.setdefault(column.key, column)
    labels = {label.name: (label.value,) for label in challenge.labels}
    cases = dataset.cases if dataset is not None else ()
    return PlatformRules(
        name=challenge.name,
        title=challenge.title,
        labels=challenge.labels,
        profile=challenge.profile,
        metrics=challenge.computed_metrics,
        groups={**labels, **challenge.label_groups},
        columns=tuple(columns.values()),
        both_empty=challenge.ranking.both_empty,
        annotated={case.id: case.annotated for case in cases if case.annotated is not None},
        output_slug=output_slug,
    )


def _ranked(challenge: Challenge) -> Iterator[Column]:
    for metric in challenge.ranking.metrics:
        if not metric.measured or metric.metric == RUNTIME:
            yield _column(metric.facts, metric.labels or "", metric)


def _others(challenge: Challenge) -> Iterator[Column]:
    charges: Mapping[str, Metric] = {metric.metric: metric for metric in challenge.ranking.metrics}
    for facts in challenge.label_metrics:
        for group in (*challenge.label_groups, *(label.name for label in challenge.labels)):
            yield _column(facts, group, charges.get(facts.key), ranked=False)
    for facts in challenge.case_metrics:
        yield _column(facts, "", charges.get(facts.key), ranked=False)


def _column(facts: MetricFacts, group: str, metric: Metric | None, *, ranked: bool = True) -> Column:
    heading = " ".join(word for word in (facts.title, group, heading_unit(facts)) if word)
    key = RUNTIME if facts.key == RUNTIME else facts.column
    return Column(
        key=f"{key}_{column_name(group)}" if group else key,
        title=f"{heading} s" if key == RUNTIME else heading,
        metric=facts.key,
        group=group,
        direction="higher"
        if (metric.direction.value if metric else facts.direction) == "higher"
        else "lower",
        failed=metric.failed if metric is not None else facts.failed,
        percent=facts.percent,
        ranked=ranked,
    )
