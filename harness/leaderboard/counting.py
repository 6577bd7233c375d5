"""What a case counts: the one place that charges failed cases, and that knows which labels count where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.challenge import Challenge, Metric, RankingScheme
from harness.challenge.metrics import facts_of, is_fraction
from harness.leaderboard.ranking import ValueTable
from harness.leaderboard.values import Bools, Floats, RunValues


@dataclass(frozen=True, eq=False)
class Counting:
    """The rules by which the cases of comparable runs count.

    Attributes:
        challenge: Label groups and metrics.
        scheme: The values of failed cases.
        annotated: By metric about labels, bool (cases, labels): which labels count. See `annotation`.
        absent: bool (cases, labels): labels that a case annotates and whose reference does not hold them.
    """

    challenge: Challenge
    scheme: RankingScheme
    annotated: Mapping[str, Bools]
    absent: Bools

    def failed(self, metric: str, group: str | None = None) -> float:
        """Return what a failed case counts: what the scheme says, else the metric's own value."""
        value = self.stated(metric, group)
        return facts_of(metric).failed if value is None else value

    def stated(self, metric: str, group: str | None = None) -> float | None:
        """Return what the scheme says that a failed case counts; None if it does not rank the metric."""
        alike = [ranked for ranked in self.scheme.metrics if ranked.metric == metric]
        exact = [ranked for ranked in alike if ranked.labels == group]
        return next((ranked.failed for ranked in exact + alike), None)

    def label_values(self, run: RunValues, metric: str, *, failed: float | None = None) -> Floats:
        """Return what each label of each case counts, (cases, labels); NaN where it is not annotated.

        A failed case counts the failed value, and so does a label that is infinitely far off. A label that
        the rules leave out of a case, because neither volume holds it, has nothing wrong with it: where it
        counts because another team did predict it, it counts the best there is.
        """
        charge = self.failed(metric) if failed is None else failed
        mask = self.annotated[metric]
        if metric not in run.scores:
            known_to_lack = run.record.source == "imported"  # a table without the metric says nothing of it
            return np.where(mask & (not known_to_lack), charge, np.nan)
        scores = run.scores[metric]
        if metric in run.left_out:
            best = 1.0 if is_fraction(facts_of(metric)) else 0.0
            scores = np.where(run.left_out[metric], best, scores)
        if run.is_human:
            mask = mask & run.scored[:, None]  # a case with one rater is no failure of people
        good = (run.succeeded & run.usable)[:, None] & np.isfinite(scores)
        return np.where(mask, np.where(good, scores, charge), np.nan)

    def case_values(self, run: RunValues, metric: str, *, failed: float | None = None) -> Floats:
        """Return what each case counts in a metric that is a number per case, (cases,)."""
        charge = self.failed(metric) if failed is None else failed
        values = run.scores.get(metric, np.full(len(run.cases), np.nan))
        charges = np.where(run.scored, charge, np.nan) if run.is_human else np.full(len(run.cases), charge)
        return np.where(run.succeeded & run.usable & np.isfinite(values), values, charges)

    def group_values(self, run: RunValues, metric: str, group: str, *, failed: float | None = None) -> Floats:
        """Return each case's mean over its annotated labels of a group, (cases,); NaN if it has none."""
        columns = np.isin(run.labels, self.challenge.label_groups[group])
        charge = self.failed(metric, group) if failed is None else failed
        values = self.label_values(run, metric, failed=charge)[:, columns]
        counted = ~np.isnan(values)
        total = np.where(counted, values, 0.0).sum(axis=1)
        return np.where(counted.any(axis=1), total / np.maximum(counted.sum(axis=1), 1), np.nan)

    def false_alarms_ml(self, run: RunValues, group: str) -> Floats:
        """Return how much of a group's labels was predicted where the reference lacks them, ml (cases,).

        Zero where nothing was; NaN in a case that lacks no label of the group, or that failed.
        """
        columns = np.isin(run.labels, self.challenge.label_groups[group])
        lacking = self.absent[:, columns]
        found = np.where(lacking, np.nan_to_num(run.prediction_ml[:, columns]), 0.0).sum(axis=1)
        return np.where(lacking.any(axis=1) & run.succeeded & run.usable, found, np.nan)

    def ranked_values(self, run: RunValues, metric: Metric) -> Floats:
        """Return what a run's cases count in a ranked metric, (cases,); NaN where a case does not count.

        A failed case counts as the metric's failed value, as does a measurement that is missing in a case
        that succeeded.
        """
        if metric.measured:
            measured = run.resource(metric.metric)
            return np.where(run.succeeded & ~np.isnan(measured), measured, metric.failed)
        if metric.labels is None:
            return self.case_values(run, metric.metric, failed=metric.failed)
        return self.group_values(run, metric.metric, metric.labels, failed=metric.failed)

    def resource(self, run: RunValues, metric: str, *, fallback: float | None) -> Floats:
        """Return a measurement over the cases, a failed one at the scheme's value, (cases,).

        All NaN if it was never measured, or nothing was run.

        Args:
            run: The run.
            metric: The measured metric.
            fallback: What a failed case counts if the scheme does not rank the metric; None leaves it out.
        """
        measured = run.resource(metric)
        if run.record.source != "container":
            return measured
        stated = self.stated(metric)
        charge = fallback if stated is None else stated
        if charge is None or (run.succeeded.any() and np.isnan(measured[run.succeeded]).all()):
            return np.where(run.succeeded, measured, np.nan)
        return np.where(run.succeeded, measured, charge)

    def charged(self, run: RunValues, metric: str) -> Floats:
        """Return a measurement as it was, (cases,), with failed cases at the scheme's value if it has one."""
        stated = self.stated(metric)
        measured = run.resource(metric)
        return measured if stated is None else np.where(run.succeeded, measured, stated)

    def value_table(self, runs: Sequence[RunValues], metrics: Sequence[Metric]) -> ValueTable:
        """Lay out the values that are ranked: metrics x cases x teams."""
        cases = len(runs[0].cases)
        values = np.zeros((len(metrics), cases, len(runs)))
        for index, metric in enumerate(metrics):
            for team, run in enumerate(runs):
                values[index, :, team] = self.ranked_values(run, metric)
        counted = np.asarray(~np.isnan(values).any(axis=2))
        return ValueTable(tuple(metrics), np.where(np.isnan(values), 0.0, values), counted)


def counting(runs: Sequence[RunValues], challenge: Challenge, scheme: RankingScheme) -> Counting:
    """Return the rules by which the cases of comparable runs count."""
    keys = {facts.key for facts in challenge.label_metrics}
    keys |= {metric.metric for metric in scheme.metrics if metric.labels is not None}
    absent = absent_labels(runs)
    masks = {key: annotation(runs, key, scheme=scheme, absent=absent) for key in keys}
    return Counting(challenge, scheme, masks, absent)


def absent_labels(runs: Sequence[RunValues]) -> Bools:
    """Return which annotated labels a case's reference does not hold, (cases, labels).

    The scores tell it; where no run's do, the label is taken to be there.
    """
    known = np.zeros(runs[0].annotated.shape, dtype=bool)
    held = known.copy()
    for run in runs:
        known |= ~np.isnan(run.reference_ml)
        held |= run.reference_ml > 0
    return runs[0].annotated & known & ~held


def annotation(runs: Sequence[RunValues], metric: str, *, scheme: RankingScheme, absent: Bools) -> Bools:
    """Return which labels count in each case for a metric, (cases, labels).

    The data set says so. A label that no prediction of a case that was scored has a value for is not
    annotated, and one that the reference lacks counts as the scheme's `both_empty` says.

    Args:
        runs: Comparable runs.
        metric: A metric that is a number per label.
        scheme: Says what a label counts that the reference lacks.
        absent: Those labels, as `absent_labels` returns them.
    """
    mask = runs[0].annotated.copy()
    if scheme.both_empty == "not counted":
        mask &= ~absent
    scored = np.zeros(len(mask), dtype=bool)
    valued = np.zeros(mask.shape, dtype=bool)
    for run in runs:
        if metric in run.scores:
            scored |= run.usable
            has_value = ~np.isnan(run.scores[metric])
            if scheme.both_empty == "nan":
                has_value &= ~(absent & (run.prediction_ml == 0))
            elif metric in run.left_out:
                has_value |= absent & run.left_out[metric]
            valued |= has_value
    return mask & (valued | ~scored[:, None])
