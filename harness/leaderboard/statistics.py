"""How sure is the order? Bootstrap over cases, pairwise tests, agreement of orders, groups of equals.

Definitions follow Wiesenfarth et al., Scientific Reports 11:2369 (2021). All functions are pure; every
random number comes from the seed that is passed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from harness.challenge import RankingScheme
from harness.leaderboard.ranking import Ints, Ranking, Scorer, ValueTable, rank_scores
from harness.leaderboard.wilcoxon import ALPHA, Floats, holm, one_sided

_CHUNK_ELEMENTS = 30_000_000


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """The orders that other samples of cases would have given.

    Attributes:
        ranks: int32 (samples, teams).
        low: int32 (teams,), lower end of the interval of ranks.
        high: int32 (teams,), upper end of the interval of ranks.
        tau: float64 (samples,), Kendall's tau-b of each sample's order with the full one; NaN where all tie.
    """

    ranks: Ints
    low: Ints
    high: Ints
    tau: Floats

    def rank_counts(self) -> npt.NDArray[np.int64]:
        """Return how often each team took each rank: int64 (teams, ranks)."""
        teams = self.ranks.shape[1]
        flat = np.arange(teams)[None, :] * teams + (self.ranks - 1)
        return np.bincount(flat.ravel(), minlength=teams * teams).reshape(teams, teams)


def sample_counts(cases: int, samples: int, *, seed: int) -> Floats:
    """Draw samples of `cases` cases with replacement: how often each holds each case, (samples, cases)."""
    generator = np.random.default_rng(seed)
    draws = generator.integers(cases, size=(samples, cases))
    flat = np.arange(samples)[:, None] * cases + draws
    return np.bincount(flat.ravel(), minlength=samples * cases).reshape(samples, cases).astype(np.float64)


def bootstrap(
    table: ValueTable, scheme: RankingScheme, full: Ranking, *, samples: int, seed: int, confidence: float
) -> Bootstrap:
    """Rank the teams again on samples of the cases.

    Args:
        table: The values.
        scheme: How they become an order.
        full: The ranking over all cases.
        samples: How many samples to draw.
        seed: Seeds the draws.
        confidence: The share of samples within the interval of ranks, such as 0.95.
    """
    scorer = Scorer(table, scheme)
    counts = sample_counts(table.cases, samples, seed=seed)
    ranks = np.empty((samples, table.teams), dtype=np.int32)
    step = max(1, _CHUNK_ELEMENTS // (table.teams * max(1, len(table.metrics))))
    for start in range(0, samples, step):
        scores, _ = scorer.scores(counts[start : start + step])
        ranks[start : start + step] = rank_scores(scores)
    tail = (1 - confidence) / 2
    low = np.quantile(ranks, tail, axis=0, method="inverted_cdf").astype(np.int32)
    high = np.quantile(ranks, 1 - tail, axis=0, method="inverted_cdf").astype(np.int32)
    return Bootstrap(ranks, low, high, kendall_tau(full.ranks, ranks))


def kendall_tau(full: Ints, ranks: Ints) -> Floats:
    """Return Kendall's tau-b of one order (teams,) with each of many (samples, teams).

    NaN where one of the two orders ties all teams, or there are fewer than two.
    """
    teams = len(full)
    order = np.argsort(full, kind="stable")
    reference = full[order]
    ordered: npt.NDArray[np.signedinteger] = ranks[:, order].astype(np.int16 if teams < 2**15 else np.int32)
    agreement = np.zeros(len(ranks), dtype=np.int64)
    for team in range(teams):
        worse = ordered[:, np.searchsorted(reference, reference[team], side="right") :]
        own = ordered[:, team, None]
        agreement += np.count_nonzero(worse > own, axis=1) - np.count_nonzero(worse < own, axis=1)
    pairs = teams * (teams - 1) // 2
    size = np.sqrt((pairs - _tied_pairs(full[None, :])) * (pairs - _tied_pairs(ranks)).astype(np.float64))
    tau: Floats = np.divide(agreement, size, out=np.full(len(ranks), np.nan), where=size > 0)
    return tau


def _tied_pairs(ranks: Ints) -> npt.NDArray[np.int64]:
    """Count the tied pairs of each row of ranks: int64 (rows,)."""
    rows, teams = ranks.shape
    flat = np.arange(rows)[:, None] * (teams + 1) + ranks
    held = np.bincount(flat.ravel(), minlength=rows * (teams + 1)).reshape(rows, teams + 1)
    return np.asarray((held * (held - 1) // 2).sum(axis=1))


@dataclass(frozen=True, eq=False)
class Significance:
    """Pairwise tests among the tested teams.

    Attributes:
        teams: The indices of the tested teams, best first.
        adjusted: float64 (tested, tested): [i, j] is Holm's adjusted p-value of "i is no better than j".
    """

    teams: npt.NDArray[np.intp]
    adjusted: Floats

    @property
    def better(self) -> npt.NDArray[np.bool_]:
        """bool (tested, tested): [i, j] says that i is significantly better than j."""
        return self.adjusted <= ALPHA


def pairwise_tests(costs: Floats, order: npt.NDArray[np.intp]) -> Significance:
    """Test all pairs of the given teams.

    Args:
        costs: float64 (cases, teams), less is better.
        order: The teams to test, best first.
    """
    return Significance(order, holm(one_sided(costs[:, order])))


def tie_groups(better: npt.NDArray[np.bool_]) -> list[int]:
    """Group teams that no test separates, walking down from the best.

    A team joins the group of those above it unless one of its members is significantly better (or worse).

    Args:
        better: bool (teams, teams), best first, as `Significance.better`.

    Returns:
        The group of each team, numbered from 1.
    """
    groups: list[int] = []
    members: list[int] = []
    for team in range(len(better)):
        if members and (better[members, team].any() or better[team, members].any()):
            members = []
            groups.append(groups[-1] + 1)
        else:
            groups.append(groups[-1] if groups else 1)
        members.append(team)
    return groups
