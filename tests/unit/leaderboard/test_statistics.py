"""The statistics of a ranking, with scipy and the paper's idealised challenges as oracles.

The ideal, random and tied tasks are those of Wiesenfarth et al., Scientific Reports 11:2369 (2021): what the
analysis must say of each follows from how the task is made.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.challenge import Direction, Metric, RankingScheme
from harness.leaderboard.ranking import ValueTable, rank_scores, rank_teams
from harness.leaderboard.statistics import bootstrap, kendall_tau, pairwise_tests, sample_counts, tie_groups
from harness.leaderboard.wilcoxon import holm, one_sided, significant_wins

DSC = Metric(metric="dsc", labels="organs", direction=Direction.HIGHER, failed=0)
ORDERS = ("rank-then-average", "average-then-rank", "test-then-rank")


def task(values: np.ndarray) -> ValueTable:
    """A task of one metric from values (cases, teams)."""
    return ValueTable((DSC,), values[None].astype(float), np.ones((1, len(values)), dtype=bool))


def ideal_task(cases: int = 50) -> ValueTable:
    """Five algorithms whose values never overlap: A1 in 0.9 to 1, A2 in 0.8 to 0.9, and so on."""
    generator = np.random.default_rng(4)
    return task(np.stack([generator.uniform(0.9 - 0.1 * i, 1.0 - 0.1 * i, cases) for i in range(5)], axis=1))


def random_task(cases: int = 50, seed: int = 4) -> ValueTable:
    """Five algorithms drawn from one distribution."""
    return task(np.random.default_rng(seed).uniform(0, 1, (cases, 5)))


def tied_task(cases: int = 50) -> ValueTable:
    """Five algorithms with the same value in each case."""
    return task(np.tile(np.random.default_rng(4).uniform(0, 1, (cases, 1)), (1, 5)))


def resample(values: ValueTable, order: str, samples: int = 200):
    scheme = RankingScheme(order=order, metrics=values.metrics)
    full = rank_teams(values, scheme)
    return full, bootstrap(values, scheme, full, samples=samples, seed=7, confidence=0.95)


@pytest.mark.parametrize("order", ORDERS)
def test_the_ideal_task_has_one_certain_order(order):
    full, boot = resample(ideal_task(), order)
    assert full.ranks.tolist() == [1, 2, 3, 4, 5]
    assert boot.low.tolist() == boot.high.tolist() == [1, 2, 3, 4, 5]
    assert boot.tau == pytest.approx(np.ones(200))


@pytest.mark.parametrize("order", ORDERS)
def test_the_tied_task_leaves_everyone_first(order):
    full, boot = resample(tied_task(), order)
    assert full.ranks.tolist() == [1] * 5
    assert boot.high.tolist() == [1] * 5
    assert np.isnan(boot.tau).all()


@pytest.mark.parametrize("order", ORDERS[:2])
def test_the_random_task_has_wide_intervals(order):
    _, boot = resample(random_task(), order)
    assert (boot.high > boot.low).all()
    assert (boot.high - boot.low).mean() >= 2
    assert np.nanmean(boot.tau) < 0.8


def better(values: ValueTable) -> np.ndarray:
    return pairwise_tests(values.costs()[0], np.arange(values.teams)).better


def test_the_ideal_task_separates_every_pair_and_the_tied_one_none():
    assert better(ideal_task()).tolist() == np.triu(np.ones((5, 5), dtype=bool), k=1).tolist()
    assert not better(tied_task()).any()


def test_among_equals_a_difference_is_found_as_rarely_as_the_level_says():
    """Holm's correction holds the chance of any false difference among the 20 tests at 5 %."""
    false_alarms = sum(better(random_task(seed=seed)).any() for seed in range(300))
    assert 0 < false_alarms <= stats.binom(300, 0.05).ppf(0.9999)


def test_tie_groups_follow_the_tests():
    assert tie_groups(better(ideal_task())) == [1, 2, 3, 4, 5]
    assert tie_groups(better(tied_task())) == [1] * 5


def test_a_group_ends_where_any_member_is_separated():
    better = np.zeros((4, 4), dtype=bool)
    better[0, 2] = True
    assert tie_groups(better) == [1, 1, 2, 2]


def test_the_bootstrap_ranks_each_sample_as_if_it_were_the_challenge():
    generator = np.random.default_rng(0)
    values = task(np.round(generator.uniform(0, 1, (15, 6)), 2))
    counts = sample_counts(15, 40, seed=7)
    for order in ORDERS[:2]:
        scheme = RankingScheme(order=order, metrics=(DSC,))
        _, boot = resample(values, order, samples=40)
        for sample in range(40):
            cases = np.repeat(np.arange(15), counts[sample].astype(int))
            again = task(values.values[0][cases])
            assert boot.ranks[sample].tolist() == rank_teams(again, scheme).ranks.tolist()


def test_samples_are_seeded_and_hold_as_many_cases_as_there_are():
    counts = sample_counts(30, 100, seed=3)
    assert (counts.sum(axis=1) == 30).all()
    assert (counts == sample_counts(30, 100, seed=3)).all()
    assert (counts != sample_counts(30, 100, seed=4)).any()


def test_rank_counts_add_up_to_the_samples():
    _, boot = resample(random_task(), "rank-then-average")
    counts = boot.rank_counts()
    assert (counts.sum(axis=1) == 200).all()
    assert counts[2, 0] == (boot.ranks[:, 2] == 1).sum()


@settings(max_examples=150)
@given(st.integers(0, 2**32), st.integers(2, 70), st.sampled_from([1, 2, 8]))
def test_signed_rank_tests_agree_with_scipy(seed, cases, decimals):
    costs = np.round(np.random.default_rng(seed).normal(0, 1, (cases, 3)), decimals)
    p_values = one_sided(costs)
    for i, j in itertools.permutations(range(3), 2):
        gains = costs[:, j] - costs[:, i]
        nonzero = gains[gains != 0]
        if not len(nonzero):
            assert p_values[i, j] == 1.0
            continue
        distinct = len(np.unique(np.abs(nonzero))) == len(gains)
        method = "exact" if distinct and cases < 50 else "approx"
        expected = stats.wilcoxon(gains, alternative="greater", correction=True, method=method).pvalue
        assert p_values[i, j] == pytest.approx(expected, abs=1e-12)


def test_holm_by_hand():
    """Six tests: the k-th smallest is multiplied by 7 - k, and never falls below the one before it."""
    raw = np.array([[1.0, 0.001, 0.010], [0.900, 1.0, 0.012], [0.800, 0.500, 1.0]])
    expected = [[1.0, 0.006, 0.05], [1.0, 1.0, 0.05], [1.0, 1.0, 1.0]]
    assert holm(raw) == pytest.approx(np.array(expected))


def test_tests_on_samples_agree_with_tests_on_the_repeated_cases():
    generator = np.random.default_rng(1)
    values = np.round(generator.normal([0.0, 0.1, 0.5, 0.5], 0.3, (40, 4)), 1)
    counts = sample_counts(40, 30, seed=2)
    wins = significant_wins(values, counts)
    for sample in range(30):
        repeated = np.repeat(values, counts[sample].astype(int), axis=0)
        assert wins[sample].tolist() == (holm(one_sided(repeated)) <= 0.05).sum(axis=1).tolist()


@given(st.integers(0, 2**32), st.integers(2, 9))
def test_kendall_tau_agrees_with_scipy(seed, teams):
    generator = np.random.default_rng(seed)
    full = rank_scores(generator.integers(0, 6, teams).astype(float))
    samples = rank_scores(generator.integers(0, 6, (5, teams)).astype(float))
    expected = [stats.kendalltau(full, sample).statistic for sample in samples]
    assert kendall_tau(full, samples) == pytest.approx(np.array(expected), nan_ok=True)
