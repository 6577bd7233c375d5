"""What a case counts: failed cases at the challenge's value, labels only where they are annotated."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.challenge import Challenge, Metric, MetricName, RankingScheme
from harness.leaderboard.ranking import ValueTable
from harness.leaderboard.values import Bools, Floats, RunValues

ABOUT_LABELS = frozenset({MetricName.DSC, MetricName.NSD})


def annotation(runs: Sequence[RunValues]) -> Bools:
    """Return which labels count in each case, (cases, labels).

    The data set says so; and a label that no scored prediction of a case has a value for is not annotated.
    """
    mask = runs[0].annotated.copy()
    scored = np.zeros(len(mask), dtype=bool)
    valued = np.zeros(mask.shape, dtype=bool)
    for run in runs:
        scored |= run.scored
        valued |= ~np.isnan(run.dsc)
    return mask & (valued | ~scored[:, None])


def charge(run: RunValues, scores: Floats, failed: float) -> Floats:
    """Return scores (cases, labels) with every failed case and every missing value at the failed value."""
    return np.where(run.succeeded[:, None] & ~np.isnan(scores), scores, failed)


def metric_values(run: RunValues, metric: Metric, members: Sequence[int], annotated: Bools) -> Floats:
    """Return what a run's cases count in a metric, (cases,).

    A failed case counts as the metric's failed value, as does a label or measurement that is missing in a
    case that succeeded. NaN where the case annotates none of the metric's labels.

    Args:
        run: The run.
        metric: The metric.
        members: The label values of the metric's group; unused for metrics that are not about labels.
        annotated: bool (cases, labels).
    """
    if metric.metric not in ABOUT_LABELS:
        measured = run.resource(metric.metric)
        return np.where(run.succeeded & ~np.isnan(measured), measured, metric.failed)
    columns = np.isin(run.labels, members)
    wanted = annotated[:, columns]
    scores = charge(run, (run.dsc if metric.metric is MetricName.DSC else run.nsd)[:, columns], metric.failed)
    count = wanted.sum(axis=1)
    total = np.where(wanted, scores, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def value_table(
    runs: Sequence[RunValues], metrics: Sequence[Metric], challenge: Challenge, annotated: Bools
) -> ValueTable:
    """Lay out the values that are ranked: metrics x cases x teams."""
    values = np.zeros((len(metrics), len(annotated), len(runs)))
    counted = np.ones((len(metrics), len(annotated)), dtype=bool)
    for index, metric in enumerate(metrics):
        members = challenge.label_groups[metric.labels] if metric.labels is not None else ()
        for team, run in enumerate(runs):
            values[index, :, team] = metric_values(run, metric, members, annotated)
        counted[index] = ~np.isnan(values[index]).any(axis=1)
    return ValueTable(tuple(metrics), np.nan_to_num(values), counted)


def failed_value(scheme: RankingScheme, name: MetricName, group: str | None = None) -> float | None:
    """Return what a failed case counts in a metric of the scheme; None if the scheme has no such metric."""
    exact = [m.failed for m in scheme.metrics if m.metric is name and m.labels == group]
    alike = [m.failed for m in scheme.metrics if m.metric is name]
    return next(iter(exact + alike), None)
