"""From runs to a leaderboard: which runs are compared, on what, and in which order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from harness.challenge import Challenge, Metric, RankingScheme
from harness.challenge.metrics import with_unit
from harness.leaderboard.columns import all_columns
from harness.leaderboard.counting import counting
from harness.leaderboard.history import top_of_ladder
from harness.leaderboard.model import Analysis, Division, Leaderboard, LeftOut
from harness.leaderboard.power import Power, first_probabilities, power_of, win_rates
from harness.leaderboard.ranking import Ranking, ValueTable, case_ranks, overall_case_scores, rank_teams
from harness.leaderboard.rows import Placing, describe_row
from harness.leaderboard.statistics import (
    Bootstrap,
    Significance,
    bootstrap,
    pairwise_tests,
    sample_counts,
    tie_groups,
)
from harness.leaderboard.subgroups import CaseTable, subgroups
from harness.leaderboard.uncertainty import Samples
from harness.leaderboard.values import RunValues

DEFAULT_SEED = 20220501
MOST_TESTED_TEAMS = 100
"""Pairwise tests grow with the square of the teams; below this place nobody asks who beats whom."""


def build(
    runs: Iterable[RunValues],
    *,
    challenge: Challenge,
    scheme: RankingScheme | None = None,
    bootstrap_samples: int = 1000,
    seed: int = DEFAULT_SEED,
    confidence: float = 0.95,
    across_hosts: bool = False,
    chosen_runs: dict[str, str] | None = None,
    profile: str | None = None,
    case_table: CaseTable | None = None,
) -> Leaderboard:
    """Rank the teams. A pure function of the runs.

    Args:
        runs: Runs of this challenge, as read from disk.
        challenge: Label groups, limits and the scheme used by default.
        scheme: Another ranking scheme.
        bootstrap_samples: Samples for the intervals of ranks; 0 for none.
        seed: Seeds the samples.
        confidence: The share of samples within an interval.
        across_hosts: Rank on time even where the rows ran on unlike hosts.
        chosen_runs: Run by team, where it is not to be the newest complete one.
        profile: The scoring profile, where it is not the challenge's; runs scored under others only are
            ranked apart.
        case_table: What is known of the cases, for means over parts of them.
    """
    scheme = scheme or challenge.ranking
    wanted = profile or challenge.profile
    chosen = chosen_runs or {}
    options = _Options(challenge, scheme, bootstrap_samples, seed, confidence, across_hosts, case_table)

    groups: dict[tuple[str, tuple[str, ...], str], list[RunValues]] = defaultdict(list)
    for run in runs:
        facts = run.record.dataset
        groups[facts.fingerprint, facts.cases, run.profile or wanted].append(run)
    divisions = [
        _divide(choose_runs(members, chosen, options=options), used, options)
        for (_, _, used), members in groups.items()
    ]
    divisions.sort(
        key=lambda division: (-len(division.rows), division.dataset, division.fingerprint, division.profile)
    )
    notes = []
    if len(divisions) > 1:
        notes.append(
            f"The runs are over {len(divisions)} different data sets or scoring profiles; "
            "each has its own ranking and they are not comparable."
        )
    return Leaderboard(
        challenge=challenge,
        scheme=scheme,
        divisions=tuple(divisions),
        bootstrap_samples=bootstrap_samples,
        seed=seed,
        confidence=confidence,
        across_hosts=across_hosts,
        notes=tuple(notes),
    )


def choose_runs(runs: Sequence[RunValues], chosen: dict[str, str], *, options: _Options) -> list[RunValues]:
    """Take one run per team, by name: the chosen one, else the newest complete one, else the newest.

    Where the scheme has a ladder, the chosen one, else the last that beat those before it.
    """
    ladder = options.scheme.repeated == "ladder"
    by_team: dict[str, list[RunValues]] = defaultdict(list)
    for run in runs:
        by_team[run.record.team].append(run)
    taken = []
    for team in sorted(by_team):
        candidates = by_team[team]
        named = [run for run in candidates if run.record.run == chosen.get(team)]
        if ladder and not named and len(candidates) > 1:
            rules = counting(candidates, options.challenge, options.scheme)
            taken.append(top_of_ladder(candidates, rules))
            continue
        taken.append(
            max(named or candidates, key=lambda run: (run.complete, run.record.created_at, run.record.run))
        )
    return taken


@dataclass(frozen=True)
class _Options:
    """What was asked for, the same for every division."""

    challenge: Challenge
    scheme: RankingScheme
    samples: int
    seed: int
    confidence: float
    across_hosts: bool
    case_table: CaseTable | None


def _divide(runs: list[RunValues], profile: str, options: _Options) -> Division:
    """Rank runs over the same cases, one per team."""
    facts = runs[0].record.dataset
    people = [run for run in runs if run.is_human]
    runs = [run for run in runs if not run.is_human]
    # Which labels count is no matter of what others' tables hold.
    own = [run for run in runs if run.record.source != "imported"]
    rules = counting(
        own or runs or people, options.challenge, options.scheme, people=next(iter(people), None)
    )
    competing, guests, notes = _competitors(runs, options.scheme)
    metrics, left_out = _ranked_metrics(competing, options.scheme, across_hosts=options.across_hosts)
    if not runs:
        metrics, left_out = [], []
    guests += people
    labels = options.challenge.labels
    if others := [run.record.team for run in runs if run.record.challenge.labels != labels]:
        notes.append(f"Scored under other labels or tolerances than are here now: {', '.join(others)}.")
    notes += _notes(runs, metrics, left_out, across_hosts=options.across_hosts)

    analysis = None
    order: list[int] = []
    if competing and metrics:
        table = rules.value_table(competing, metrics)
        ranking = rank_teams(table, options.scheme)
        order = sorted(
            range(len(competing)), key=lambda team: (ranking.ranks[team], competing[team].record.team)
        )
        analysis = _analyse(table, ranking, order, options)
        notes += _power_notes(analysis.power, metrics)
        if len(competing) > MOST_TESTED_TEAMS:
            notes.append(f"Pairwise tests cover the first {MOST_TESTED_TEAMS} of {len(competing)} teams.")
    else:
        guests = competing + guests
    placed = [*(competing[team] for team in order), *guests]
    columns = all_columns(options.challenge, people=bool(people))
    samples = Samples(sample_counts(len(facts.cases), options.samples, seed=options.seed), options.confidence)
    return Division(
        dataset=facts.name,
        fingerprint=facts.fingerprint,
        profile=profile,
        cases=facts.cases,
        rows=tuple(
            describe_row(run, rules, columns, placing, samples)
            for run, placing in zip(placed, _placings(placed, len(order), analysis), strict=True)
        ),
        values=tuple(placed),
        metrics=tuple(metrics),
        left_out=tuple(left_out),
        counting=rules,
        notes=tuple(notes),
        analysis=analysis,
        subgroups=subgroups(placed, rules, samples, table=options.case_table),
    )


def _power_notes(power: Power | None, metrics: Sequence[Metric]) -> list[str]:
    """Say what this many cases can show, so that a map without findings is not taken for equality."""
    if power is None:
        return []
    if not power.can_separate:
        return [
            f"No test can separate teams over {power.cases} cases, whatever their scores: "
            f"for this many teams it takes {power.cases_needed}."
        ]
    shown = [
        f"{metric.title} {with_unit(metric.facts, power.smallest[metric.key])}"
        for metric in metrics
        if metric.key in power.smallest
    ]
    return [f"Differences smaller than these are not told apart: {', '.join(shown)}."] if shown else []


def _placings(runs: Sequence[RunValues], ranked: int, analysis: Analysis | None) -> list[Placing]:
    """Say where each row stands; the first `ranked` ones are in competition."""
    kinds = _host_kinds(sorted(runs, key=lambda run: run.record.team))
    groups: list[int | None] = [1] * ranked
    if analysis is not None and analysis.significance is not None:
        tested = tie_groups(analysis.significance.better)
        groups = [*tested, *[None] * (ranked - len(tested))]
    return [
        Placing(analysis, place, groups[place], kinds[run.record.team])
        if place < ranked
        else Placing(None, place, None, kinds[run.record.team])
        for place, run in enumerate(runs)
    ]


def _competitors(
    runs: list[RunValues], scheme: RankingScheme
) -> tuple[list[RunValues], list[RunValues], list[str]]:
    """Separate imported rows, and those that have no time by nature unless nobody has or needs any."""
    imported = [run for run in runs if run.record.source == "imported"]
    own = [run for run in runs if run.record.source != "imported"]
    if own and imported:
        names = ", ".join(run.record.team for run in imported)
        why = (
            "its numbers were measured elsewhere and by others"
            if len(imported) == 1
            else ("their numbers were measured elsewhere and by others")
        )
        competing, guests, notes = _competitors(own, scheme)
        return competing, [*guests, *imported], [*notes, f"Out of competition, because {why}: {names}."]
    scored_only = [run for run in runs if run.record.source == "predictions"]
    needs_resources = any(metric.measured for metric in scheme.metrics)
    if not scored_only or len(scored_only) == len(runs) or not needs_resources:
        return runs, [], []
    competing = [run for run in runs if run.record.source != "predictions"]
    names = ", ".join(run.record.team for run in scored_only)
    return (
        competing,
        scored_only,
        [f"Out of competition, because nothing was run and so nothing measured: {names}."],
    )


def _ranked_metrics(
    runs: Sequence[RunValues], scheme: RankingScheme, *, across_hosts: bool
) -> tuple[list[Metric], list[LeftOut]]:
    unlike = len({_likeness(run) for run in runs}) > 1 and not across_hosts
    ranked, left_out = [], []
    for metric in scheme.metrics:
        if not metric.measured:
            if any(metric.metric in run.scores for run in runs):
                ranked.append(metric)
            else:
                left_out.append(LeftOut(metric, "no score holds it: `harness score` computes it"))
        elif not any((run.succeeded & ~np.isnan(run.resource(metric.metric))).any() for run in runs):
            left_out.append(LeftOut(metric, "measured in no row"))
        elif unlike and metric.facts.host_bound:
            left_out.append(LeftOut(metric, "the rows ran on unlike hosts"))
        else:
            ranked.append(metric)
    return ranked, left_out


def _notes(
    runs: Sequence[RunValues],
    ranked: Sequence[Metric],
    left_out: Sequence[LeftOut],
    *,
    across_hosts: bool,
) -> list[str]:
    notes = [f"Not ranked: {item.metric.key}, because {item.reason}." for item in left_out]
    if across_hosts and len({_likeness(run) for run in runs if run.record.source == "container"}) > 1:
        notes.append("Rows from unlike hosts are ranked on time together, as was asked.")
    if len({run.record.limits for run in runs if run.record.source == "container"}) > 1:
        notes.append("The rows were run under different limits.")
    for metric in dict.fromkeys(metric.metric for metric in ranked if not metric.measured):
        if unscored := [run.record.team for run in runs if metric not in run.scores]:
            notes.append(f"No score of {', '.join(unscored)} holds {metric}: `harness score` computes it.")
    if cut_off := [run.record.team for run in runs if not run.complete]:
        notes.append(f"Incomplete, and cases without a verdict count as failed: {', '.join(cut_off)}.")
    return notes


def _likeness(run: RunValues) -> object:
    return None if run.record.host is None else run.record.host.likeness


def _host_kinds(runs: Sequence[RunValues]) -> dict[str, int]:
    """Number the kinds of hosts from 1, in the order of team names; 0 for rows without a host."""
    kinds: dict[object, int] = {}
    numbers = {}
    for run in runs:
        if run.record.host is None:
            numbers[run.record.team] = 0
        else:
            numbers[run.record.team] = kinds.setdefault(_likeness(run), len(kinds) + 1)
    return numbers


def _analyse(table: ValueTable, ranking: Ranking, order: list[int], options: _Options) -> Analysis:
    """Compute the statistics with the teams in ranked order."""
    table = ValueTable(table.metrics, np.ascontiguousarray(table.values[:, :, order]), table.counted)
    ranking = Ranking(ranking.scores[order], ranking.ranks[order], ranking.metric_scores[:, order])
    resampled: Bootstrap | None = None
    if options.samples:
        resampled = bootstrap(
            table,
            options.scheme,
            ranking,
            samples=options.samples,
            seed=options.seed,
            confidence=options.confidence,
        )
    case_scores, counted = overall_case_scores(case_ranks(table, options.scheme.ties), table)
    significance: Significance | None = None
    if table.teams > 1:
        tested = np.arange(min(table.teams, MOST_TESTED_TEAMS))
        significance = pairwise_tests(case_scores[counted], tested)
    tested_scores = case_scores[counted]
    return Analysis(
        table=table,
        ranking=ranking,
        bootstrap=resampled,
        case_scores=case_scores,
        significance=significance,
        win_rates=win_rates(tested_scores),
        p_first=first_probabilities(resampled.ranks) if resampled is not None else None,
        power=power_of(_of_first(table, MOST_TESTED_TEAMS), len(tested_scores)),
    )


def _of_first(table: ValueTable, teams: int) -> ValueTable:
    return ValueTable(table.metrics, table.values[:, :, :teams], table.counted)
