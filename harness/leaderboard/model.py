"""What a leaderboard is: divisions of comparable rows, a row per team, and the analysis behind them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from harness.challenge import Challenge, Metric, RankingScheme
from harness.leaderboard.counting import Counting
from harness.leaderboard.power import Power
from harness.leaderboard.ranking import Floats, Ranking, ValueTable
from harness.leaderboard.statistics import Bootstrap, Significance
from harness.leaderboard.subgroups import Subgroup
from harness.leaderboard.uncertainty import Estimate
from harness.leaderboard.values import RunValues

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class LeftOut:
    """A metric of the scheme that this division does not rank on, and why."""

    metric: Metric
    reason: str


@dataclass(frozen=True)
class Row:
    """One team's line. Scores are fractions; a failed case counts with the challenge's worst value.

    Attributes:
        team: The team's name.
        title: The submission's own title; may be empty.
        run: The run that was taken.
        source: `container`; `predictions` for a folder scored without running anything; `raters` for people;
            `imported` for others' tables.
        created_at: When the run was made.
        complete: Whether every case came to a verdict; in an incomplete run the rest counts as failed.
        rank: Competition rank; None for a row out of competition.
        rank_low: Lower end of the bootstrap interval of the rank.
        rank_high: Upper end of the bootstrap interval of the rank.
        p_first: The share of the bootstrap samples in which the team is first; None without samples.
        tie_group: Teams with the same number are separated by no test; None if not tested.
        score: The scheme's combined rank, less is better.
        metrics: Mean over the cases by metric key of the scheme, failed cases at their failed value.
        metric_scores: Each ranked metric's part of `score`.
        cells: The value of each column by its key; see `columns.all_columns`.
        estimates: By column, the mean with its number of cases and intervals, where a column is a mean.
        charged: Keys of the columns whose value is what failed cases are charged, or holds some of it.
        achieved: Whether anything was right in any case; nothing of a row that achieved nothing is best.
        cases: Cases of the challenge.
        failed: Cases that did not succeed.
        outcomes: Cases by outcome; `missing` for those without a record.
        host: What it ran on, in one line.
        host_kind: Rows with the same number ran on like hosts; 0 where nothing was run.
        marks: Names of the marks (see `MARKS`).
    """

    team: str
    title: str
    run: str
    source: str
    created_at: datetime
    complete: bool
    rank: int | None
    rank_low: int | None
    rank_high: int | None
    p_first: float | None
    tie_group: int | None
    score: float | None
    metrics: dict[str, float | None]
    metric_scores: dict[str, float]
    cells: dict[str, float | None]
    estimates: dict[str, Estimate]
    charged: tuple[str, ...]
    achieved: bool
    cases: int
    failed: int
    outcomes: dict[str, int]
    host: str
    host_kind: int
    marks: tuple[str, ...]


MARKS = {
    "incomplete": ("I", "not every case came to a verdict; the rest counts as failed"),
    "human": (
        "H",
        "people: each rater against each of the others; the columns vs raters have the methods alike; never"
        " ranked and never best",
    ),
    "predictions": ("P", "predictions scored without running anything"),
    "imported": ("T", "imported from others' tables, not measured or scored here"),
    "requires_root": ("R", "runs as root"),
    "writable_root": ("W", "has a writable root file system"),
    "writable_inputs": ("C", "has a private copy of the inputs that it may write to"),
    "not_isolated": ("N", "ran without isolation"),
    "lower_bound": ("L", "peak memory is a sampled lower bound"),
    "unsigned": ("U", "is not signed with this host's key: its numbers are taken as they stand"),
}
"""The letter and the meaning of each mark."""


@dataclass(frozen=True, eq=False)
class Analysis:
    """The arrays behind a division's ranked rows, teams in the order of the rows.

    Attributes:
        table: The values that were ranked, failed cases at their failed values.
        ranking: The ranking over all cases.
        bootstrap: The rankings over samples of the cases; None if no sample was asked for.
        case_scores: float64 (cases, teams), each case's combined rank, which the tests compare.
        significance: Tests of the combined rank; None below two teams.
        win_rates: float64 (teams, teams), how often each team's combined rank beats each other's.
        p_first: float64 (teams,), the probability of being first; None if no sample was asked for.
        power: What tests over this many cases can show; None below two teams.
    """

    table: ValueTable
    ranking: Ranking
    bootstrap: Bootstrap | None
    case_scores: Floats
    significance: Significance | None
    win_rates: Floats
    p_first: Floats | None
    power: Power | None


@dataclass(frozen=True, eq=False)
class Division:
    """Rows that are comparable: the same cases, references and scoring profile.

    Attributes:
        dataset: The data set's name.
        fingerprint: The SHA-256 over the cases' bytes.
        profile: The scoring profile.
        cases: The case ids, in order.
        rows: Ranked rows, best first, then those out of competition.
        values: The run behind each row.
        metrics: What was ranked.
        left_out: Metrics of the scheme that were not.
        counting: The rules by which the cases of these rows count.
        notes: What a reader must know, as sentences.
        analysis: The arrays of the ranked rows; None if nothing is ranked.
        subgroups: The means over parts of the cases, where something is known of them.
    """

    dataset: str
    fingerprint: str
    profile: str
    cases: tuple[str, ...]
    rows: tuple[Row, ...]
    values: tuple[RunValues, ...]
    metrics: tuple[Metric, ...]
    left_out: tuple[LeftOut, ...]
    counting: Counting
    notes: tuple[str, ...]
    analysis: Analysis | None
    subgroups: tuple[Subgroup, ...] = ()

    @property
    def ranked(self) -> tuple[Row, ...]:
        """The rows in competition, best first."""
        return tuple(row for row in self.rows if row.rank is not None)


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """A challenge's leaderboard: one division per data set and scoring profile, the largest first."""

    challenge: Challenge
    scheme: RankingScheme
    divisions: tuple[Division, ...]
    bootstrap_samples: int
    seed: int
    confidence: float
    across_hosts: bool
    notes: tuple[str, ...] = field(default=())

    @property
    def has_people(self) -> bool:
        """Whether a row is of a data set's own raters."""
        return any(run.is_human for division in self.divisions for run in division.values)
