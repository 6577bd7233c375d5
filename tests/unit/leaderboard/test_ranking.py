"""Ranking: worked examples, and a slow second implementation as the oracle."""

from __future__ import annotations

import itertools
from statistics import mean

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from harness.challenge import Direction, Metric, RankingScheme
from harness.leaderboard.ranking import (
    ValueTable,
    case_ranks,
    competition_ranks,
    overall_case_scores,
    rank_scores,
    rank_teams,
    shared_ranks,
    sums,
)

DSC = Metric(metric="dsc", labels="organs", direction=Direction.HIGHER, failed=0)
NSD = Metric(metric="nsd", labels="organs", direction=Direction.HIGHER, failed=0)
TIME = Metric(metric="runtime_s", direction=Direction.LOWER, failed=3600, tolerance=0)


def table(*metrics: tuple[Metric, list[list[float]]], counted=None) -> ValueTable:
    """Values are given as a list of teams, each a list of its cases."""
    values = np.array([np.array(rows, dtype=float).T for _, rows in metrics])
    mask = np.ones(values.shape[:2], dtype=bool) if counted is None else np.array(counted)
    return ValueTable(tuple(metric for metric, _ in metrics), values, mask)


def scheme(*metrics: Metric, order: str = "rank-then-average", **more: object) -> RankingScheme:
    return RankingScheme(order=order, metrics=metrics, **more)


def test_ties_share_the_better_rank():
    assert competition_ranks(np.array([0.3, 0.1, 0.3, 0.2])).tolist() == [3, 1, 3, 2]
    assert competition_ranks(np.array([5.0, 5.0, 5.0])).tolist() == [1, 1, 1]


def test_scores_that_differ_by_rounding_are_tied():
    assert rank_scores(np.array([0.1 + 0.2, 0.3, 0.4])).tolist() == [1, 1, 3]
    assert rank_scores(np.array([0.0, 0.0, 0.0])).tolist() == [1, 1, 1]


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_competition_ranks_agree_with_scipy(costs):
    assert (
        competition_ranks(np.array(costs, dtype=float)).tolist()
        == stats.rankdata(costs, method="min").tolist()
    )


@given(st.lists(st.integers(0, 5), min_size=1, max_size=12))
def test_equals_share_the_mean_of_their_ranks(costs):
    shared = shared_ranks(np.array(costs, dtype=float), "mean")
    assert shared.tolist() == stats.rankdata(costs, method="average").tolist()


def test_three_failures_on_a_tumour_are_no_three_first_places():
    ranking = rank_teams(table((DSC, [[0.0], [0.0], [0.0], [0.4]])), scheme(DSC))
    assert ranking.scores.tolist() == [3.0, 3.0, 3.0, 1.0]


def test_direction_is_the_metrics_own():
    ranking = rank_teams(table((DSC, [[0.9], [0.8]]), (TIME, [[20.0], [10.0]])), scheme(DSC, TIME))
    assert ranking.metric_scores.tolist() == [[1, 2], [2, 1]]
    assert ranking.ranks.tolist() == [1, 1]


def test_rank_then_average_worked_by_hand():
    """Three teams, two cases: ranks A 1 1, B 2 3, C 3 2 on Dice; A 3 3, B 1 1, C 2 2 on time."""
    values = table(
        (DSC, [[0.95, 0.90], [0.90, 0.70], [0.80, 0.80]]),
        (TIME, [[30.0, 31.0], [10.0, 11.0], [20.0, 21.0]]),
    )
    ranking = rank_teams(values, scheme(DSC, TIME))
    assert ranking.scores.tolist() == [(1 + 3) / 2, (2.5 + 1) / 2, (2.5 + 2) / 2]
    assert ranking.ranks.tolist() == [2, 1, 3]


def test_weights_count_as_in_flare22():
    """Half a weight for the second metric: (1 x 1 + 0.5 x 2) / 1.5 against (1 x 2 + 0.5 x 1) / 1.5."""
    half = TIME.model_copy(update={"weight": 0.5})
    ranking = rank_teams(table((DSC, [[0.9], [0.8]]), (half, [[20.0], [10.0]])), scheme(DSC, half))
    assert ranking.scores == pytest.approx([2 / 1.5, 2.5 / 1.5])
    assert ranking.ranks.tolist() == [1, 2]


def test_values_within_the_tolerance_are_equal_as_in_flare23():
    tolerant = TIME.model_copy(update={"tolerance": 15.0})
    ranking = rank_teams(table((tolerant, [[3.0], [14.9], [15.1]])), scheme(tolerant))
    assert ranking.ranks.tolist() == [1, 1, 3]


def test_a_tolerance_on_a_score_caps_it_from_above():
    tolerant = DSC.model_copy(update={"tolerance": 0.95})
    ranking = rank_teams(table((tolerant, [[0.97], [0.95], [0.94]])), scheme(tolerant))
    assert ranking.ranks.tolist() == [1, 1, 3]


def test_flare21_divides_by_the_number_of_teams():
    ranking = rank_teams(table((DSC, [[0.9], [0.8], [0.7]])), scheme(DSC, divide_by_teams=True))
    assert ranking.scores == pytest.approx([1 / 3, 2 / 3, 1])


def test_orders_can_disagree():
    """One disaster drags down a mean, but costs only one case's rank: the classic example."""
    values = table((DSC, [[0.91, 0.91, 0.91, 0.0], [0.9, 0.9, 0.9, 0.9]]))
    assert rank_teams(values, scheme(DSC)).ranks.tolist() == [1, 2]
    assert rank_teams(values, scheme(DSC, order="average-then-rank")).ranks.tolist() == [2, 1]


def test_a_case_that_does_not_annotate_the_labels_is_left_out_for_all():
    values = table(
        (DSC, [[0.9, 0.0], [0.8, 1.0]]),
        (NSD, [[0.9, 0.6], [0.8, 0.5]]),
        counted=[[True, False], [True, True]],
    )
    ranking = rank_teams(values, scheme(DSC, NSD))
    assert ranking.metric_scores.tolist() == [[1, 2], [1, 2]]
    assert case_ranks(values)[0].tolist() == [[1, 2], [0, 0]]


def test_combined_ranks_that_are_equal_are_equal_to_the_last_bit():
    """Ranks 1, 2, 3 in any order of three metrics weigh the same, whatever rounding makes of the sums."""
    third = [metric.model_copy(update={"weight": 0.1}) for metric in (DSC, NSD, TIME)]
    values = table(
        (third[0], [[0.9], [0.8], [0.7]]),
        (third[1], [[0.8], [0.7], [0.9]]),
        (third[2], [[3.0], [1.0], [2.0]]),
    )
    scores, counted = overall_case_scores(case_ranks(values), values)
    assert counted.all()
    assert len(set(scores[0].tolist())) == 1


def test_a_team_alone_is_first():
    assert rank_teams(table((DSC, [[0.5, 0.4]])), scheme(DSC)).ranks.tolist() == [1]


def by_definition(values: ValueTable, order: str, ties: str) -> list[int]:
    """Rank with plain loops, straight from the definitions."""
    metrics, cases, teams = values.values.shape
    totals = [0.0] * teams
    for m in range(metrics):
        metric = values.metrics[m]

        def cost(case: int, team: int, m: int = m, metric: Metric = metric) -> float:
            value = float(values.values[m, case, team])
            if metric.direction is Direction.HIGHER:
                return -value if metric.tolerance is None else -min(value, metric.tolerance)
            return value if metric.tolerance is None else max(value, metric.tolerance)

        def rank(own: float, all_of_them: list[float]) -> float:
            above = sum(other < own - 1e-9 for other in all_of_them)
            equals = sum(abs(other - own) <= 1e-9 for other in all_of_them)
            return 1 + above + ((equals - 1) / 2 if ties == "mean" else 0)

        held = [case for case in range(cases) if values.counted[m, case]]
        if order == "rank-then-average":
            part = [
                mean(rank(cost(c, team), [cost(c, other) for other in range(teams)]) for c in held)
                for team in range(teams)
            ]
        elif order == "average-then-rank":
            means = [mean(cost(c, team) for c in held) for team in range(teams)]
            part = [rank(own, means) for own in means]
        else:
            tests = {
                (a, b): stats.wilcoxon(
                    [cost(c, b) - cost(c, a) for c in held],
                    alternative="greater",
                    correction=True,
                    method="approx",
                ).pvalue
                for a, b in itertools.permutations(range(teams), 2)
            }
            wins = [0] * teams
            for step, ((a, _), p_value) in enumerate(sorted(tests.items(), key=lambda item: item[1])):
                if p_value * (len(tests) - step) > 0.05:
                    break
                wins[a] += 1
            part = [rank(-own, [-other for other in wins]) for own in wins]
        totals = [total + metric.weight * value for total, value in zip(totals, part, strict=True)]
    return [1 + sum(other < own - 1e-9 for other in totals) for own in totals]


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 8), st.booleans())
def test_vectorised_orders_agree_with_the_definitions(seed, teams, cases, coarse):
    generator = np.random.default_rng(seed)
    accuracy = np.round(generator.uniform(0, 1, (2, cases, teams)), 1 if coarse else 6)
    time = np.round(generator.uniform(1, 30, (1, cases, teams)), 0 if coarse else 6)
    counted = np.ones((3, cases), dtype=bool)
    counted[1, 1:] = generator.random(cases - 1) < 0.6
    metrics = (DSC, NSD.model_copy(update={"weight": 0.5}), TIME.model_copy(update={"tolerance": 10.0}))
    values = ValueTable(metrics, np.concatenate([accuracy, time]), counted)
    for order, ties in itertools.product(("rank-then-average", "average-then-rank"), ("mean", "best")):
        ranked = rank_teams(values, scheme(*metrics, order=order, ties=ties))
        assert ranked.ranks.tolist() == by_definition(values, order, ties)


def test_test_then_rank_agrees_with_the_definition():
    generator = np.random.default_rng(5)
    quality = np.array([0.9, 0.9, 0.85, 0.8, 0.5])
    values = np.clip(quality + generator.normal(0, 0.05, (2, 60, 5)), 0, 1)
    values = ValueTable((DSC, NSD), values, np.ones((2, 60), dtype=bool))
    ranking = rank_teams(values, scheme(DSC, NSD, order="test-then-rank"))
    assert ranking.ranks.tolist() == by_definition(values, "test-then-rank", "mean")
    assert ranking.ranks.tolist() == [1, 1, 3, 4, 5]


MASD = Metric(metric="masd", labels="organs")


@pytest.mark.parametrize("order", ["rank-then-average", "average-then-rank", "test-then-rank"])
def test_an_infinite_distance_is_the_worst_and_ties_with_another(order):
    """Three teams, eight cases: the first misses nothing, the others miss one case each."""
    far = [[1.0] * 8, [1.0] * 7 + [np.inf], [np.inf] + [1.0] * 7]
    ranking = rank_teams(table((MASD, far)), scheme(MASD, order=order))
    assert not np.isnan(ranking.scores).any()
    assert ranking.ranks[0] == 1
    assert ranking.ranks[1] == ranking.ranks[2]


def test_samples_of_cases_without_the_infinite_one_are_finite():
    costs = np.array([[1.0, np.inf], [2.0, 3.0]])
    assert sums(np.array([[0.0, 2.0], [1.0, 1.0]]), costs).tolist() == [[4.0, 6.0], [3.0, np.inf]]


def test_direction_and_failed_value_are_the_metrics_own_unless_said_otherwise():
    assert (MASD.direction, MASD.failed) == (Direction.LOWER, np.inf)
    assert Metric(metric="masd", labels="organs", failed=374).failed == 374
    assert Metric(metric="dice", labels="organs").metric == "dsc"
    assert Metric(metric="runtime", failed="1 h").failed == 3600
