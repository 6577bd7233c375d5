"""From a table of values (metrics x cases x teams) to one order of teams. Pure functions on arrays.

Final ranks are competition ranks: 1 is best and equals share the better rank. Within a metric equals share
the mean of their ranks, unless the scheme says that they share the best: three failures on a tumour are no
three first places. The schemes are those of
Wiesenfarth et al., "Methods and open-source toolkit for analyzing and visualizing challenge results",
Scientific Reports 11:2369 (2021), with FLARE's weights and tolerances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.challenge import Direction, Metric, RankingScheme
from harness.challenge.ranking import Ties
from harness.leaderboard.wilcoxon import significant_wins

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int32]

_SAME = 1e-9
"""Scores that differ by less, relative to the largest, are one score: rounding must not break a tie."""


@dataclass(frozen=True, eq=False)
class ValueTable:
    """What is ranked.

    Attributes:
        metrics: The metrics, the first axis.
        values: float64 (metrics, cases, teams); NaN nowhere, infinite where nothing is bad enough.
        counted: bool (metrics, cases): false where a case annotates none of the metric's labels.
    """

    metrics: tuple[Metric, ...]
    values: Floats
    counted: Bools

    @property
    def teams(self) -> int:
        """The number of teams."""
        return int(self.values.shape[2])

    @property
    def cases(self) -> int:
        """The number of cases."""
        return int(self.values.shape[1])

    @property
    def weights(self) -> Floats:
        """The weight of each metric."""
        return np.array([metric.weight for metric in self.metrics], dtype=np.float64)

    def costs(self) -> Floats:
        """Return the values with the tolerances applied and the signs set: less is better."""
        costs = self.values.copy()
        for index, metric in enumerate(self.metrics):
            if metric.tolerance is not None:
                within = np.maximum if metric.direction is Direction.LOWER else np.minimum
                within(costs[index], metric.tolerance, out=costs[index])
            if metric.direction is Direction.HIGHER:
                np.negative(costs[index], out=costs[index])
        return costs


@dataclass(frozen=True, eq=False)
class Ranking:
    """One order of teams.

    Attributes:
        scores: float64 (teams,), the combined rank that the order rests on; less is better.
        ranks: int32 (teams,), competition ranks.
        metric_scores: float64 (metrics, teams), each metric's part before weighting.
    """

    scores: Floats
    ranks: Ints
    metric_scores: Floats


def competition_ranks(costs: npt.NDArray[np.floating]) -> Ints:
    """Rank along the last axis: the smallest cost gets 1, ties share the better rank.

    Args:
        costs: (..., teams); may be infinite.
    """
    order = np.argsort(costs, axis=-1, kind="stable")
    ordered = np.take_along_axis(costs, order, axis=-1)
    positions = np.arange(1, costs.shape[-1] + 1, dtype=np.int32)
    starts = np.ones(costs.shape, dtype=bool)
    np.not_equal(ordered[..., 1:], ordered[..., :-1], out=starts[..., 1:])
    shared = np.maximum.accumulate(np.where(starts, positions, np.int32(0)), axis=-1)
    ranks = np.empty(costs.shape, dtype=np.int32)
    np.put_along_axis(ranks, order, shared, axis=-1)
    return ranks


def shared_ranks(costs: npt.NDArray[np.floating], ties: Ties) -> Floats:
    """Rank along the last axis, ties sharing the mean of their ranks or the best.

    Args:
        costs: (..., teams); may be infinite.
        ties: Which rank they share.
    """
    best = competition_ranks(costs).astype(np.float64)
    if ties == "best":
        return best
    # Seen from the other end, equals share the worst of their ranks; the mean lies halfway.
    worst = costs.shape[-1] + 1 - competition_ranks(-np.asarray(costs))
    return np.asarray((best + worst) / 2)


def rank_scores(scores: Floats) -> Ints:
    """Rank computed scores along the last axis; those equal but for rounding are tied."""
    return competition_ranks(_without_rounding(scores))


def _without_rounding(scores: Floats) -> Floats:
    scale = np.max(np.abs(scores), axis=-1, keepdims=True, where=np.isfinite(scores), initial=0.0)
    scale = np.where(scale > 0, scale, 1.0)
    return np.asarray(np.round(scores / (scale * _SAME)))


def case_ranks(table: ValueTable, ties: Ties = "mean") -> Floats:
    """Rank the teams within each metric and case: float64 (metrics, cases, teams); 0 where not counted."""
    costs = np.where(table.counted[:, :, None], table.costs(), 0.0)
    ranks = shared_ranks(costs, ties)
    ranks[~table.counted] = 0
    return ranks


def overall_case_scores(ranks: Floats, table: ValueTable) -> tuple[Floats, Bools]:
    """Combine each case's ranks over the metrics, as weighted means.

    Returns:
        float64 (cases, teams), less is better, and bool (cases,): whether any metric counts the case.
    """
    weights = table.weights[:, None] * table.counted
    total = weights.sum(axis=0)
    scores = np.einsum("mc,mct->ct", weights, ranks)
    scores /= np.where(total > 0, total, 1.0)[:, None]
    # Rounded, so that equal combinations of ranks are equal to a test, which drops differences of zero.
    return np.round(scores, 9), total > 0


def rank_teams(table: ValueTable, scheme: RankingScheme) -> Ranking:
    """Rank the teams by the scheme over all cases."""
    every_case_once = np.ones((1, table.cases))
    scores, metric_scores = Scorer(table, scheme).scores(every_case_once)
    return Ranking(scores[0], rank_scores(scores)[0], metric_scores[:, 0])


class Scorer:
    """Scores teams by a scheme over any resampling of the cases; prepares once what samples share."""

    def __init__(self, table: ValueTable, scheme: RankingScheme) -> None:
        self._table = table
        self._scheme = scheme
        if scheme.order == "rank-then-average":
            self._per_case = case_ranks(table, scheme.ties)
        else:
            self._per_case = np.where(table.counted[:, :, None], table.costs(), 0.0)

    def scores(self, counts: Floats) -> tuple[Floats, Floats]:
        """Score the teams on samples of the cases.

        Args:
            counts: float64 (samples, cases), how often each sample holds each case.

        Returns:
            The combined scores (samples, teams) and each metric's part (metrics, samples, teams);
            less is better.
        """
        table = self._table
        parts = np.zeros((len(table.metrics), len(counts), table.teams))
        weights = np.zeros((len(table.metrics), len(counts), 1))
        for index, metric in enumerate(table.metrics):
            held = counts @ table.counted[index].astype(np.float64)
            weights[index, :, 0] = metric.weight * (held > 0)
            if self._scheme.order == "test-then-rank":
                costs = bounded(self._per_case[index][table.counted[index]])
                wins = significant_wins(costs, counts[:, table.counted[index]])
                parts[index] = self._shared(-wins)
                continue
            means = sums(counts, self._per_case[index]) / np.maximum(held, 1.0)[:, None]
            parts[index] = means if self._scheme.order == "rank-then-average" else self._shared(means)
        total = weights.sum(axis=0)
        combined = (weights * parts).sum(axis=0) / np.where(total > 0, total, 1.0)
        if self._scheme.divide_by_teams:
            combined = combined / table.teams
        return combined, parts

    def _shared(self, scores: Floats) -> Floats:
        return shared_ranks(_without_rounding(scores), self._scheme.ties)


def sums(counts: Floats, costs: Floats) -> Floats:
    """Return the sums over samples of cases, (samples, teams); infinite where any cost is.

    Args:
        counts: float64 (samples, cases), how often each sample holds each case.
        costs: float64 (cases, teams).
    """
    infinite = np.isinf(costs)
    if not infinite.any():
        return counts @ costs
    total = counts @ np.where(infinite, 0.0, costs)
    return np.where(counts @ infinite > 0, np.inf, total)


def bounded(costs: Floats) -> Floats:
    """Return costs with the infinite ones further off than all others are from each other."""
    infinite = np.isinf(costs)
    if not infinite.any():
        return costs
    finite = costs[~infinite]
    worst = 1.0 + 2 * finite.max() - finite.min() if len(finite) else 0.0
    return np.where(infinite, worst, costs)
