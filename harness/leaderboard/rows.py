"""One team's line of the table, from its run's arrays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from harness.challenge import Metric
from harness.leaderboard.columns import Column, mean
from harness.leaderboard.counting import Counting
from harness.leaderboard.model import Analysis, Row
from harness.leaderboard.uncertainty import Estimate, Samples, estimates
from harness.leaderboard.values import MISSING, OUTCOMES, Floats, RunValues


@dataclass(frozen=True)
class Placing:
    """Where a row stands.

    Attributes:
        analysis: The arrays of the ranked rows; None if the row is out of competition.
        place: The row's index among them.
        tie_group: The number of its group; None if it was not tested.
        host_kind: The number of its host's kind.
    """

    analysis: Analysis | None
    place: int
    tie_group: int | None
    host_kind: int


def describe_row(
    run: RunValues, counting: Counting, columns: list[Column], placing: Placing, samples: Samples
) -> Row:
    """Describe a run as a row.

    Args:
        run: The run.
        counting: The rules by which its cases count.
        columns: What to fill in.
        placing: Where it stands.
        samples: What intervals are made from.
    """
    record, ranked, place = run.record, placing.analysis, placing.place
    boot = ranked.bootstrap if ranked is not None else None
    scores = {}
    if ranked is not None:
        parts = ranked.ranking.metric_scores[:, place]
        scores = {m.key: float(part) for m, part in zip(ranked.table.metrics, parts, strict=True)}
    per_case = {column: column.per_case(counting, run) for column in columns if column.per_case is not None}
    cells = {
        column.key: mean(per_case[column]) if column in per_case else column.value(counting, run)
        for column in columns
    }
    return Row(
        team=record.team,
        title=record.title,
        run=record.run,
        source=record.source,
        created_at=record.created_at,
        complete=run.complete,
        rank=int(ranked.ranking.ranks[place]) if ranked is not None else None,
        rank_low=int(boot.low[place]) if boot is not None else None,
        rank_high=int(boot.high[place]) if boot is not None else None,
        p_first=float(ranked.p_first[place]) if ranked is not None and ranked.p_first is not None else None,
        tie_group=placing.tie_group,
        score=float(ranked.ranking.scores[place]) if ranked is not None else None,
        metrics={metric.key: _metric_mean(run, metric, counting) for metric in counting.scheme.metrics},
        metric_scores=scores,
        cells=cells,
        estimates=_estimates(per_case, samples),
        charged=tuple(
            column.key for column in columns if column.penalty is not None and column.penalty(counting, run)
        ),
        achieved=_achieved(run, columns, cells),
        cases=len(run.cases),
        failed=0 if run.is_human else int((~run.succeeded).sum()),
        outcomes=count_outcomes(run),
        host="" if record.host is None else record.host.one_line(),
        host_kind=placing.host_kind,
        marks=marks_of(run),
    )


def _estimates(per_case: Mapping[Column, Floats], samples: Samples) -> dict[str, Estimate]:
    """Estimate the columns that are means; those of single labels get no intervals."""
    none = Samples(samples.counts[:0], samples.confidence)
    found: dict[str, Estimate] = {}
    for organ, drawn in ((False, samples), (True, none)):
        wanted = [column for column in per_case if column.organ is organ]
        if wanted:
            measured = estimates(np.stack([per_case[column] for column in wanted], axis=1), drawn)
            pairs = zip(wanted, measured, strict=True)
            found |= {column.key: estimate for column, estimate in pairs if estimate is not None}
    return found


def _achieved(run: RunValues, columns: list[Column], cells: dict[str, float | None]) -> bool:
    """Whether anything was right in any case."""
    scores = [column for column in columns if column.per_case is not None]
    if not run.succeeded.any():
        return False
    values = [(column.direction, cells[column.key]) for column in scores]
    return not scores or any(
        value is not None and (value > 0 if direction == "higher" else np.isfinite(value))
        for direction, value in values
    )


def count_outcomes(run: RunValues) -> dict[str, int]:
    """Count the cases by outcome; one without a record is `missing`, a scored prediction `succeeded`."""
    missing = run.outcomes == MISSING
    totals = np.bincount(run.outcomes[~missing], minlength=len(OUTCOMES))
    counts = {outcome.value: int(total) for outcome, total in zip(OUTCOMES, totals, strict=True) if total}
    if scored := int((missing & run.succeeded).sum()):
        counts["succeeded"] = counts.get("succeeded", 0) + scored
    if silent := int((missing & ~run.succeeded).sum()):
        counts["missing"] = silent
    return dict(sorted(counts.items(), key=lambda item: (item[0] != "succeeded", -item[1], item[0])))


def marks_of(run: RunValues) -> tuple[str, ...]:
    """Return the names of the marks that a run's row bears."""
    record = run.record
    bears = {
        "human": run.is_human,
        "incomplete": not run.complete,
        "predictions": record.source == "predictions",
        "imported": record.source == "imported",
        "requires_root": record.opt_outs.requires_root,
        "writable_root": record.opt_outs.writable_root,
        "writable_inputs": record.opt_outs.writable_inputs,
        "not_isolated": record.host is not None and not record.host.isolated and record.source == "container",
        "lower_bound": run.lower_bound,
        "unsigned": not run.signed,
    }
    return tuple(name for name, borne in bears.items() if borne)


def _metric_mean(run: RunValues, metric: Metric, counting: Counting) -> float | None:
    if metric.measured and not (run.succeeded & ~np.isnan(run.resource(metric.metric))).any():
        return metric.failed if run.record.source == "container" and not run.succeeded.any() else None
    return mean(counting.ranked_values(run, metric))
