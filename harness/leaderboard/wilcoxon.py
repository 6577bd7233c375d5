"""Is one team better than another? One-sided Wilcoxon signed-rank tests for all pairs, and Holm's correction.

Like R's `wilcox.test(paired = TRUE)`, which challenge analyses use: differences of zero are dropped, the
distribution is exact below 50 differences without ties, and otherwise normal with the corrections for ties
and continuity.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

Floats = npt.NDArray[np.float64]

ALPHA = 0.05
_EXACT_BELOW = 50
_CHUNK_ELEMENTS = 1_000_000


def one_sided(costs: Floats) -> Floats:
    """Test every ordered pair of teams over the same cases.

    Args:
        costs: float64 (cases, teams), finite, less is better.

    Returns:
        float64 (teams, teams): [i, j] is the p-value of "team i is no better than team j"; 1 on the diagonal.
    """
    cases, teams = costs.shape
    p_values = np.ones((teams, teams))
    first, second = np.triu_indices(teams, k=1)
    if not cases or not len(first):
        return p_values
    by_team = np.ascontiguousarray(costs.T)
    step = max(1, _CHUNK_ELEMENTS // cases)
    for start in range(0, len(first), step):
        i, j = first[start : start + step], second[start : start + step]
        gains = by_team[j] - by_team[i]
        p_values[i, j], p_values[j, i] = _signed_rank_p(gains)
    return p_values


def holm(p_values: Floats) -> Floats:
    """Adjust the p-values of all ordered pairs, (teams, teams), by Holm's step-down method."""
    teams = len(p_values)
    adjusted = np.ones_like(p_values)
    off_diagonal = ~np.eye(teams, dtype=bool)
    raw = p_values[off_diagonal]
    order = np.argsort(raw, kind="stable")
    factors = np.arange(len(raw), 0, -1)
    stepped = np.maximum.accumulate(np.minimum(raw[order] * factors, 1.0))
    result = np.empty_like(raw)
    result[order] = stepped
    adjusted[off_diagonal] = result
    return adjusted


def significant_wins(costs: Floats, counts: Floats, *, alpha: float = ALPHA) -> Floats:
    """Count, for each team, the teams that it beats significantly after Holm's correction.

    Args:
        costs: float64 (cases, teams), less is better.
        counts: float64 (samples, cases), how often each sample holds each case.
        alpha: The level of significance.

    Returns:
        float64 (samples, teams).
    """
    if np.all(counts == 1):
        wins = (holm(one_sided(costs)) <= alpha).sum(axis=1, dtype=np.float64)
        return np.tile(wins, (len(counts), 1))
    # Compiled code is loaded only where resampled tests are asked for; compiling it takes seconds once.
    from harness.leaderboard.resampled import resampled_wins

    return resampled_wins(np.ascontiguousarray(costs.T), counts.astype(np.int32), alpha)


def _signed_rank_p(gains: Floats) -> tuple[Floats, Floats]:
    """Return the p-values of "greater" and of "less" for each row of differences (pairs, cases)."""
    size = np.abs(gains)
    order = np.argsort(size, axis=1)
    size = np.take_along_axis(size, order, axis=1)
    positive = np.take_along_axis(gains, order, axis=1) > 0
    zeros = (size == 0).sum(axis=1)
    used = gains.shape[1] - zeros

    ranks, tie_term = _average_ranks(size)
    ranks -= zeros[:, None]
    tie_term -= zeros.astype(np.float64) ** 3 - zeros
    above = np.where(positive, ranks, 0.0).sum(axis=1)
    below = used * (used + 1) / 2 - above

    exact = (used > 0) & (used < _EXACT_BELOW) & (zeros == 0) & (tie_term == 0)
    greater, less = _normal_tail(above, used, tie_term), _normal_tail(below, used, tie_term)
    for row in np.flatnonzero(exact):
        tail = _exact_tail(int(used[row]))
        greater[row], less[row] = tail[round(above[row])], tail[round(below[row])]
    return greater, less


def _average_ranks(ordered: Floats) -> tuple[Floats, Floats]:
    """Return the ranks of sorted rows, ties averaged, and each row's sum of t^3 - t over its ties."""
    cases = ordered.shape[1]
    positions = np.arange(cases)
    starts = np.ones(ordered.shape, dtype=bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=starts[:, 1:])
    first = np.maximum.accumulate(np.where(starts, positions, 0), axis=1)
    ends = np.ones(ordered.shape, dtype=bool)
    ends[:, :-1] = starts[:, 1:]
    last = np.minimum.accumulate(np.where(ends, positions, cases)[:, ::-1], axis=1)[:, ::-1]
    length = (last - first + 1).astype(np.float64)
    tie_term = np.where(starts, length**3 - length, 0.0).sum(axis=1)
    return (first + last) / 2 + 1.0, tie_term


def _normal_tail(statistic: Floats, used: npt.NDArray[np.int_], tie_term: Floats) -> Floats:
    mean = used * (used + 1) / 4
    variance = used * (used + 1) * (2 * used + 1) / 24 - tie_term / 48
    scale = np.sqrt(np.where(variance > 0, variance, 1.0))
    return np.where(variance > 0, ndtr(-(statistic - mean - 0.5) / scale), 1.0)


@lru_cache(maxsize=_EXACT_BELOW)
def _exact_tail(used: int) -> Floats:
    """Return P(W >= w) for w = 0 ... n(n+1)/2: which sums the subsets of the ranks 1 ... n have."""
    ways = np.zeros(used * (used + 1) // 2 + 1)
    ways[0] = 1.0
    for rank in range(1, used + 1):
        ways[rank:] = ways[rank:] + ways[:-rank]
    return np.cumsum(ways[::-1])[::-1] / 2.0**used
