"""Intervals of means, with scipy's bootstrap as the oracle, and what so few cases can show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from harness.challenge import Direction, Metric
from harness.leaderboard.power import (
    cases_needed,
    first_probabilities,
    power_of,
    smallest_difference,
    win_rates,
)
from harness.leaderboard.ranking import ValueTable
from harness.leaderboard.statistics import sample_counts
from harness.leaderboard.uncertainty import Samples, difference, estimates

DSC = Metric(metric="dsc", labels="organs", direction=Direction.HIGHER, failed=0)


def samples(cases: int, draws: int = 4000) -> Samples:
    return Samples(sample_counts(cases, draws, seed=3), 0.95)


@pytest.mark.parametrize(("method", "kind"), [("percentile", "percentile"), ("BCa", "bca")])
def test_intervals_agree_with_scipy(method, kind):
    """Skewed values, as Dice near 100 % is, so that the two kinds of interval differ."""
    values = np.random.default_rng(1).beta(8, 1, 25)
    own = estimates(values[:, None], samples(25, 20000))[0]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20000, method=method, rng=np.random.default_rng(2)
    ).confidence_interval
    assert own.mean == pytest.approx(values.mean())
    assert getattr(own, kind) == pytest.approx((theirs.low, theirs.high), abs=0.003)


def test_cases_that_do_not_count_are_in_neither_mean_nor_n():
    values = np.array([[0.9, 0.5], [0.8, np.nan], [0.7, 0.7], [0.6, np.nan]])
    first, second = estimates(values, samples(4))
    assert (first.n, second.n) == (4, 2)
    assert second.mean == pytest.approx(0.6)
    assert second.bca[0] >= 0.5 and second.bca[1] <= 0.7


def test_what_cannot_be_told_has_no_interval():
    nothing, one, far = estimates(
        np.array([[np.nan, 0.5, np.inf], [np.nan, np.nan, 2.0], [np.nan, np.nan, 1.0]]), samples(3)
    )
    assert nothing is None
    assert (one.n, one.bca) == (1, None)
    assert (far.mean, far.percentile) == (math.inf, None)


def test_without_draws_there_is_a_mean_and_no_interval():
    (only,) = estimates(np.array([[0.4], [0.6]]), Samples(np.empty((0, 2)), 0.95))
    assert (only.mean, only.n, only.bca) == (0.5, 2, None)


def test_equal_values_have_an_interval_of_no_width():
    (same,) = estimates(np.full((5, 1), 0.1 + 0.2), samples(5))
    assert same.bca == pytest.approx((0.3, 0.3))


def test_a_paired_difference_is_surer_than_the_two_means():
    """Cases differ much and teams little: each mean is unsure, and their difference is not."""
    hardness = np.random.default_rng(4).uniform(0.2, 0.9, 20)
    better = hardness + 0.02
    apart = difference(better, hardness, samples(20))
    assert apart.bca == pytest.approx((0.02, 0.02))
    own = estimates(hardness[:, None], samples(20))[0]
    assert own.bca[1] - own.bca[0] > 0.1


def test_a_case_that_counts_for_one_team_only_is_in_no_difference():
    gap = difference(np.array([0.5, np.nan, 0.7]), np.array([0.4, 0.2, np.nan]), samples(3))
    assert (gap.n, gap.mean) == (1, pytest.approx(0.1))


@pytest.mark.parametrize(("teams", "needed"), [(2, 6), (3, 7), (10, 11)])
def test_so_many_teams_need_so_many_cases(teams, needed):
    """The least p-value over n cases is 2^-n, times the number of ordered pairs."""
    assert cases_needed(teams) == needed
    assert 0.5**needed * teams * (teams - 1) <= 0.05 < 0.5 ** (needed - 1) * teams * (teams - 1)


def test_the_smallest_difference_is_found_about_four_times_out_of_five():
    generator = np.random.default_rng(5)
    noise = generator.normal(0, 0.05, (400, 2))
    size = smallest_difference(noise[:25], 2)
    found = 0
    for _ in range(400):
        gaps = generator.normal(size, 0.05 * math.sqrt(2), 25)
        found += stats.ttest_1samp(gaps, 0, alternative="greater").pvalue <= 0.05 / 2
    assert 0.65 < found / 400 < 0.95


def test_three_teams_over_six_cases_cannot_be_separated_and_over_seven_can():
    for cases, possible in ((6, False), (7, True)):
        values = np.random.default_rng(6).uniform(0, 1, (1, cases, 3))
        table = ValueTable((DSC,), values, np.ones((1, cases), dtype=bool))
        power = power_of(table, cases)
        assert power.can_separate is possible
        assert power.cases_needed == 7


def test_a_team_alone_has_no_power():
    assert power_of(ValueTable((DSC,), np.ones((1, 9, 1)), np.ones((1, 9), dtype=bool)), 9) is None


def test_win_rates_count_ties_as_halves():
    rates = win_rates(np.array([[1.0, 2.0], [1.0, 2.0], [1.5, 1.5], [2.0, 1.0]]))
    assert rates.tolist() == [[0.5, 0.625], [0.375, 0.5]]


def test_teams_that_are_first_together_share_it():
    ranks = np.array([[1, 1, 3], [1, 2, 3], [2, 1, 3], [1, 1, 1]])
    shares = first_probabilities(ranks)
    assert shares.tolist() == pytest.approx([(0.5 + 1 + 1 / 3) / 4, (0.5 + 1 + 1 / 3) / 4, (1 / 3) / 4])
    assert shares.sum() == pytest.approx(1)
