"""A team's runs over time, and the ladder: a new score shows only if it beats the best by more than noise.

Whoever may submit again and again to a hidden set climbs its noise. On a ladder a score that is no real gain
leaves what was shown before, so that trying again tells nothing: Blum and Hardt, "The Ladder: a reliable
leaderboard for machine learning competitions", ICML 2015, in its form without parameters, where a step is the
standard error of the paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harness.leaderboard.counting import Counting
from harness.leaderboard.uncertainty import Estimate, Samples, difference, estimates
from harness.leaderboard.values import Floats, RunValues


@dataclass(frozen=True, eq=False)
class Attempt:
    """One run of a team.

    Attributes:
        run: The run.
        accuracy: Its mean accuracy over the cases, see `accuracy`.
        gain: How much better it is than the best before it, paired by case; None of a team's first run.
        step: The gain that it had to exceed; None of the first run.
        shown: Whether the ladder shows it from then on.
    """

    run: RunValues
    accuracy: Estimate | None
    gain: Estimate | None
    step: float | None
    shown: bool


def accuracy(run: RunValues, counting: Counting) -> Floats:
    """Return what each case counts in accuracy, more is better, (cases,); NaN where none counts.

    The weighted mean of the scheme's computed metrics that count the case, costs with their sign turned.
    """
    metrics = [metric for metric in counting.scheme.metrics if not metric.measured]
    if not metrics:
        return np.full(len(run.cases), np.nan)
    signs = np.array([-1.0 if metric.direction.value == "lower" else 1.0 for metric in metrics])
    values = np.stack([counting.ranked_values(run, metric) for metric in metrics]) * signs[:, None]
    weights = np.array([metric.weight for metric in metrics])[:, None] * ~np.isnan(values)
    total = weights.sum(axis=0)
    weighted = (np.where(np.isnan(values), 0.0, values) * weights).sum(axis=0)
    return np.where(total > 0, weighted / np.where(total > 0, total, 1.0), np.nan)


def climb(runs: Sequence[RunValues], counting: Counting, samples: Samples) -> list[Attempt]:
    """Walk up the ladder with one team's runs over the same cases.

    Args:
        runs: In the order in which they were made.
        counting: The rules by which their cases count.
        samples: What intervals are made from.
    """
    attempts: list[Attempt] = []
    best: Floats | None = None
    for run in runs:
        own = accuracy(run, counting)
        mean = estimates(own[:, None], samples)[0]
        if best is None:
            attempts.append(Attempt(run, mean, None, None, shown=True))
            best = own
            continue
        gain, step = difference(own, best, samples), _step(own, best)
        shown = bool(run.complete and gain is not None and gain.mean > step)
        attempts.append(Attempt(run, mean, gain, step, shown))
        best = own if shown else best
    return attempts


def top_of_ladder(runs: Sequence[RunValues], counting: Counting) -> RunValues:
    """Return the run that the ladder shows of one team; incomplete runs only where there is nothing else."""
    complete = [run for run in runs if run.complete]
    none = Samples(np.empty((0, len(runs[0].cases))), 0.95)
    attempts = climb(in_time(complete or runs), counting, none)
    return next(attempt.run for attempt in reversed(attempts) if attempt.shown)


def in_time(runs: Sequence[RunValues]) -> list[RunValues]:
    """Return runs in the order in which they were made."""
    return sorted(runs, key=lambda run: (run.record.created_at, run.record.run))


def _step(own: Floats, best: Floats) -> float:
    """Return the standard error of the mean paired difference; infinite where it cannot be told."""
    with np.errstate(invalid="ignore"):
        gaps = own - best
    gaps = gaps[~np.isnan(gaps)]
    if len(gaps) < 2 or not np.isfinite(gaps).all():
        return 0.0 if len(gaps) and np.isfinite(gaps).all() else math.inf
    return float(gaps.std(ddof=1) / math.sqrt(len(gaps)))


def describe(attempts: Sequence[Attempt], *, ladder: bool) -> list[str]:
    """Return a line per run, tab-separated: what it was, what it gained, and what a ladder says.

    Args:
        attempts: From `climb`.
        ladder: Whether the challenge has one, so that it decides what the leaderboard shows.
    """
    lines = []
    for attempt in attempts:
        record = attempt.run.record
        gain = "first run"
        if attempt.gain is not None and attempt.step is not None:
            gain = f"gain {_points(attempt.gain)}, more than {100 * attempt.step:.2f} counts"
        lines.append(
            "\t".join(
                [
                    record.team,
                    record.run,
                    record.created_at.isoformat(timespec="minutes"),
                    "complete" if attempt.run.complete else "incomplete",
                    f"accuracy {_points(attempt.accuracy)}",
                    gain,
                    _word(attempt) if ladder else f"on a ladder: {_word(attempt)}",
                ]
            )
        )
    return lines


def _word(attempt: Attempt) -> str:
    if attempt.shown:
        return "shown"
    return "not shown: no gain beyond noise" if attempt.run.complete else "not shown: incomplete"


def _points(estimate: Estimate | None) -> str:
    """Return a mean and its interval in hundredths."""
    if estimate is None:
        return "unknown"
    ends = estimate.bca or estimate.percentile
    interval = f" [{100 * ends[0]:.2f} to {100 * ends[1]:.2f}]" if ends is not None else ""
    return f"{100 * estimate.mean:.2f}{interval} (n={estimate.n})"
