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
        part = np.ascontiguousarray(counts[start : start + step].T)
        p_values = np.ones((part.shape[1], teams, teams))
        _pairs(costs, part, p_values)
        _holm_wins(p_values, alpha, wins[start : start + step])
    return wins


@numba.njit(cache=True, parallel=True)
def _pairs(costs, counts, p_values):  # type: ignore[no-untyped-def]
    teams, cases = costs.shape
    samples = counts.shape[1]
    for i in numba.prange(teams):
        for j in range(i + 1, teams):
            gains = costs[j] - costs[i]
            order = np.argsort(np.abs(gains))
            seen = np.zeros(samples)
            above = np.zeros(samples)
            ties = np.zeros(samples)
            tied = np.zeros(samples)
            tied_above = np.zeros(samples)
            for position in range(cases):
                case = order[position]
                size = abs(gains[case])
                if size == 0.0:
                    continue
                positive = gains[case] > 0.0
                for s in range(samples):
                    tied[s] += counts[case, s]
                    if positive:
                        tied_above[s] += counts[case, s]
                if position + 1 == cases or abs(gains[order[position + 1]]) != size:
                    for s in range(samples):
                        held = tied[s]
                        above[s] += tied_above[s] * (seen[s] + (held + 1.0) / 2.0)
                        ties[s] += held * held * held - held
                        seen[s] += held
                        tied[s] = 0.0
                        tied_above[s] = 0.0
            for s in range(samples):
                n = seen[s]
                variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - ties[s] / 48.0
                if variance <= 0.0:
                    continue
                scale = math.sqrt(2.0 * variance)
                centred = above[s] - n * (n + 1.0) / 4.0
                p_values[s, i, j] = 0.5 * math.erfc((centred - 0.5) / scale)
                p_values[s, j, i] = 0.5 * math.erfc((-centred - 0.5) / scale)


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
