"""What a case counts: the one place that charges failed cases, and that knows which labels count where."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.challenge import Challenge, Metric, RankingScheme
from harness.challenge.metrics import facts_of, is_fraction
from harness.leaderboard.ranking import ValueTable
from harness.leaderboard.values import Bools, Floats, RunValues

Against = Literal["reference", "raters"]
"""What a prediction is compared with: the reference, which of several raters is their consensus, or each
single rater, averaged. People are compared with single raters only, for their votes are in the consensus."""


@dataclass(frozen=True, eq=False)
class Counting:
    """The rules by which the cases of comparable runs count.

    Attributes:
        challenge: Label groups and metrics.
        scheme: The values of failed cases.
        annotated: By metric about labels, bool (cases, labels): which labels count. See `annotation`.
        absent: bool (cases, labels): labels that a case annotates and whose reference does not hold them.
        several_raters: bool (cases,): cases with raters who can be compared. None counts against raters else.
    """

    challenge: Challenge
    scheme: RankingScheme
    annotated: Mapping[str, Bools]
    absent: Bools
    several_raters: Bools

    def failed(self, metric: str, group: str | None = None) -> float:
        """Return what a failed case counts: what the scheme says, else the metric's own value."""
        value = self.stated(metric, group)
        return facts_of(metric).failed if value is None else value

    def stated(self, metric: str, group: str | None = None) -> float | None:
        """Return what the scheme says that a failed case counts; None if it does not rank the metric."""
        alike = [ranked for ranked in self.scheme.metrics if ranked.metric == metric]
        exact = [ranked for ranked in alike if ranked.labels == group]
        return next((ranked.failed for ranked in exact + alike), None)

    def label_values(
        self, run: RunValues, metric: str, *, failed: float | None = None, against: Against = "reference"
    ) -> Floats:
        """Return what each label of each case counts, (cases, labels); NaN where it is not annotated.

        A failed case counts the failed value, and so does a label that is infinitely far off. A label that
        the rules leave out of a case, because neither volume holds it, has nothing wrong with it: where it
        counts because another team did predict it, it counts the best there is.
        """
        charge = self.failed(metric) if failed is None else failed
        held, mask = _held(run, against), self.annotated[metric]
        if against == "raters":
            mask = mask & self.several_raters[:, None]
        if metric not in held:
            return np.where(mask & (not _says_nothing(run, against)), charge, np.nan)
        scores = held[metric]
        left_out = np.isnan(scores) if against == "raters" else run.left_out.get(metric)
        if left_out is not None:
            scores = np.where(left_out, 1.0 if is_fraction(facts_of(metric)) else 0.0, scores)
        good = (run.succeeded & run.usable)[:, None] & np.isfinite(scores)
        return np.where(mask, np.where(good, scores, charge), np.nan)

    def case_values(
        self, run: RunValues, metric: str, *, failed: float | None = None, against: Against = "reference"
    ) -> Floats:
        """Return what each case counts in a metric that is a number per case, (cases,)."""
        charge = self.failed(metric) if failed is None else failed
        values = _held(run, against).get(metric, np.full(len(run.cases), np.nan))
        counted = self.several_raters if against == "raters" else np.full(len(run.cases), not run.is_human)
        good = run.succeeded & run.usable & np.isfinite(values)
        return np.where(counted, np.where(good, values, charge), np.nan)

    def group_values(
        self,
        run: RunValues,
        metric: str,
        group: str,
        *,
        failed: float | None = None,
        against: Against = "reference",
    ) -> Floats:
        """Return each case's mean over its annotated labels of a group, (cases,); NaN if it has none."""
        columns = np.isin(run.labels, self.challenge.label_groups[group])
        charge = self.failed(metric, group) if failed is None else failed
        values = self.label_values(run, metric, failed=charge, against=against)[:, columns]
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


def _held(run: RunValues, against: Against) -> Mapping[str, Floats]:
    return run.rater_scores if against == "raters" else run.scores


def _says_nothing(run: RunValues, against: Against) -> bool:
    """Whether the lack of a metric tells nothing: others' tables leave it out, people have no reference."""
    return run.record.source == "imported" or (run.is_human and against == "reference")


def counting(
    runs: Sequence[RunValues],
    challenge: Challenge,
    scheme: RankingScheme,
    *,
    people: RunValues | None = None,
) -> Counting:
    """Return the rules by which the cases of comparable runs count.

    Args:
        runs: The runs.
        challenge: Label groups and metrics.
        scheme: The values of failed cases.
        people: The row of the raters, which tells in which cases there are several.
    """
    keys = {facts.key for facts in challenge.label_metrics}
    keys |= {metric.metric for metric in scheme.metrics if metric.labels is not None}
    absent = absent_labels(runs)
    masks = {key: annotation(runs, key, scheme=scheme, absent=absent) for key in keys}
    several = np.zeros(len(runs[0].cases), dtype=bool) if people is None else people.scored
    return Counting(challenge, scheme, masks, absent, several)


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
