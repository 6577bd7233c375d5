"""Wilcoxon tests on many resamplings of the cases, compiled: sorting once per pair, then one walk per sample.

A sample that holds a case twice ties its differences, so the normal tail with the tie correction is used
throughout, as R does.
"""

from __future__ import annotations

import math

import numba
import numpy as np
import numpy.typing as npt

_MOST_P_VALUES = 20_000_000
ONE = np.float32(1)


def resampled_wins(
    costs: npt.NDArray[np.float64], counts: npt.NDArray[np.int32], alpha: float
) -> npt.NDArray[np.float64]:
    """Count significant wins after Holm's correction, (samples, teams).

    Args:
        costs: float64 (teams, cases), contiguous, less is better.
        counts: int32 (samples, cases), how often each sample holds each case.
        alpha: The level of significance.
    """
    teams = len(costs)
    wins = np.zeros((len(counts), teams))
    step = max(1, _MOST_P_VALUES // max(1, teams * teams))
    for start in range(0, len(counts), step):
        part = np.ascontiguousarray(counts[start : start + step].T, dtype=np.float32)
        p_values = np.ones((part.shape[1], teams, teams))
        _pairs(costs, part, p_values)
        _holm_wins(p_values, alpha, wins[start : start + step])
    return wins


@numba.njit(cache=True, parallel=True)
def _pairs(costs, counts, p_values):  # type: ignore[no-untyped-def]  # noqa: C901 - one compiled loop
    teams, cases = costs.shape
    samples = counts.shape[1]
    # A case held n times ties its n equal differences: n^3 - n each, for every pair alike.
    own_ties = (counts**3 - counts).astype(np.float32)
    all_ties = own_ties.sum(axis=0)
    for i in numba.prange(teams):
        seen = np.empty(samples, dtype=np.float32)
        twice_above = np.empty(samples, dtype=np.float32)
        ties = np.empty(samples, dtype=np.float32)
        held = np.empty(samples, dtype=np.float32)
        above = np.empty(samples, dtype=np.float32)
        for j in range(i + 1, teams):
            gains = costs[j] - costs[i]
            sizes = np.abs(gains)
            order = np.argsort(sizes)
            seen[:] = 0.0
            twice_above[:] = 0.0
            ties[:] = all_ties
            start = 0
            while start < cases:
                first = order[start]
                stop = start + 1
                while stop < cases and sizes[order[stop]] == sizes[first]:
                    stop += 1
                if sizes[first] == 0.0:
                    for position in range(start, stop):
                        ties -= own_ties[order[position]]
                elif stop - start == 1:
                    _step(counts[first], gains[first] > 0.0, seen, twice_above)
                else:
                    held[:] = 0.0
                    above[:] = 0.0
                    for position in range(start, stop):
                        case = order[position]
                        ties -= own_ties[case]
                        held += counts[case]
                        if gains[case] > 0.0:
                            above += counts[case]
                    ties += held * held * held - held
                    twice_above += above * (seen + seen + held + ONE)
                    seen += held
                start = stop
            for s in range(samples):
                n = float(seen[s])
                variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties[s] / 48.0
                if variance <= 0.0:
                    continue
                scale = math.sqrt(2.0 * variance)
                centred = twice_above[s] / 2.0 - n * (n + 1.0) / 4.0
                p_values[s, i, j] = 0.5 * math.erfc((centred - 0.5) / scale)
                p_values[s, j, i] = 0.5 * math.erfc((-centred - 0.5) / scale)


@numba.njit(cache=True)
def _step(row, positive, seen, twice_above):  # type: ignore[no-untyped-def]
    """Rank one case in every sample; its copies share their mean rank."""
    if positive:
        for s in range(len(row)):
            twice_above[s] += row[s] * (seen[s] + seen[s] + row[s] + ONE)
    for s in range(len(row)):
        seen[s] += row[s]


@numba.njit(cache=True, parallel=True)
def _holm_wins(p_values, alpha, wins):  # type: ignore[no-untyped-def]
    samples, teams, _ = p_values.shape
    tests = teams * (teams - 1)
    for s in numba.prange(samples):
        flat = p_values[s].ravel()
        candidates = np.flatnonzero(flat <= alpha)
        ordered = candidates[np.argsort(flat[candidates], kind="mergesort")]
        for position in range(len(ordered)):
            if flat[ordered[position]] * (tests - position) > alpha:
                break
            wins[s, ordered[position] // teams] += 1.0
