"""What this many cases can show at all: who wins how often, who is first, and which difference is too small.

A map of tests that finds nothing says as much about the number of cases as about the teams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from harness.leaderboard.ranking import Ints, ValueTable
from harness.leaderboard.wilcoxon import ALPHA

Floats = npt.NDArray[np.float64]

POWER = 0.8
"""How often a difference of the smallest size named is found."""


@dataclass(frozen=True, eq=False)
class Power:
    """What tests of all pairs can find over these cases.

    Attributes:
        cases: How many cases are tested.
        tests: How many tests there are, which Holm's correction divides the level by.
        least_p: The smallest adjusted p-value that any data could give.
        cases_needed: The fewest cases over which a test could find anything.
        smallest: By metric key, the smallest difference of two means that is found four times out of five, in
            the metric's unit; metrics whose differences are infinite or always the same are not in it.
    """

    cases: int
    tests: int
    least_p: float
    cases_needed: int
    smallest: Mapping[str, float]

    @property
    def can_separate(self) -> bool:
        """Whether any data over this many cases could separate two teams."""
        return self.least_p <= ALPHA


def power_of(table: ValueTable, cases: int) -> Power | None:
    """Say what tests of all pairs can find; None below two teams.

    Args:
        table: The values that were ranked.
        cases: How many cases the tests are over.
    """
    tests = table.teams * (table.teams - 1)
    if not tests:
        return None
    smallest = {}
    for index, metric in enumerate(table.metrics):
        values = table.values[index][table.counted[index]]
        if metric.measured:
            continue
        found = smallest_difference(values, tests)
        if found is not None:
            smallest[metric.key] = found
    return Power(
        cases=cases,
        tests=tests,
        least_p=min(1.0, tests * 0.5**cases),
        cases_needed=cases_needed(table.teams),
        smallest=smallest,
    )


def cases_needed(teams: int) -> int:
    """Return the fewest cases over which the signed-rank test could separate two of these teams.

    The smallest one-sided p-value over n cases is 1/2^n, where one team is better in each; Holm's correction
    multiplies it by the number of ordered pairs.
    """
    return math.ceil(math.log2(max(1, teams * (teams - 1)) / ALPHA))


def smallest_difference(values: Floats, tests: int) -> float | None:
    """Return the difference of two means that paired tests of these cases find four times out of five.

    The usual sum of the two quantiles of Student's t, at the level that Holm's correction leaves for the
    first test, times the standard error of a typical pair's differences (the median over the pairs).

    Args:
        values: float64 (cases, teams).
        tests: How many tests share the level.
    """
    cases, teams = values.shape
    if cases < 2 or not np.isfinite(values).all():
        return None
    centred = values - values.mean(axis=0)
    products = centred.T @ centred / (cases - 1)
    variances = np.diag(products)
    first, second = np.triu_indices(teams, k=1)
    spread = np.sqrt(np.maximum(0.0, variances[first] + variances[second] - 2 * products[first, second]))
    typical = float(np.median(spread))
    if typical <= 1e-12:
        return None
    quantiles = student.ppf(1 - ALPHA / tests, cases - 1) + student.ppf(POWER, cases - 1)
    return float(quantiles * typical / math.sqrt(cases))


def win_rates(case_scores: Floats) -> Floats:
    """Return how often each team beats each other one, (teams, teams): [i, j] of i over j, ties as halves.

    Args:
        case_scores: float64 (cases, teams), less is better.
    """
    cases, teams = case_scores.shape
    rates = np.full((teams, teams), 0.5)
    for team in range(teams if cases else 0):
        own = case_scores[:, team, None]
        rates[team] = (own < case_scores).mean(axis=0) + 0.5 * (own == case_scores).mean(axis=0)
    return rates


def first_probabilities(ranks: Ints) -> Floats:
    """Return in which share of the samples each team is first, (teams,); teams that tie there share it.

    Args:
        ranks: int32 (samples, teams).
    """
    first = ranks == 1
    return np.asarray((first / first.sum(axis=1, keepdims=True)).mean(axis=0), dtype=np.float64)
