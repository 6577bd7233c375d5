"""One team's line of the table, from its run's arrays."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.challenge import Challenge, Metric, MetricName, RankingScheme
from harness.leaderboard.counting import charge, failed_value, metric_values
from harness.leaderboard.model import Analysis, Row
from harness.leaderboard.values import MISSING, OUTCOMES, Bools, Floats, RunValues
from harness.results.records import HostFacts


def describe_row(
    run: RunValues,
    challenge: Challenge,
    scheme: RankingScheme,
    annotated: Bools,
    analysis: Analysis | None,
    place: int | None,
    host_kind: int,
    groups: Sequence[int],
) -> Row:
    """Describe a run as a row.

    Args:
        run: The run.
        challenge: Label groups and limits.
        scheme: The values of failed cases.
        annotated: bool (cases, labels), which labels count.
        analysis: The arrays of the ranked rows.
        place: The row's index among the ranked rows; None out of competition.
        host_kind: The number of the host's kind.
        groups: The tie group of each tested row.
    """
    record = run.record
    ranked = analysis if place is not None else None
    boot = ranked.bootstrap if ranked is not None else None
    runtime = _charged(run, MetricName.RUNTIME_S, scheme, fallback=run.record.limits.time_s)
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
        tie_group=groups[place] if place is not None and place < len(groups) else None,
        score=float(ranked.ranking.scores[place]) if ranked is not None else None,
        metrics={metric.key: _metric_mean(run, metric, challenge, annotated) for metric in scheme.metrics},
        metric_scores=(
            {m.key: float(ranked.ranking.metric_scores[i, place]) for i, m in enumerate(ranked.table.metrics)}
            if ranked is not None
            else {}
        ),
        dsc=_group_means(run, run.dsc, MetricName.DSC, challenge, scheme, annotated),
        nsd=_group_means(run, run.nsd, MetricName.NSD, challenge, scheme, annotated),
        organ_dsc=_organ_means(run, run.dsc, MetricName.DSC, challenge, scheme, annotated),
        organ_nsd=_organ_means(run, run.nsd, MetricName.NSD, challenge, scheme, annotated),
        runtime_median_s=_quantile(runtime, 0.5),
        runtime_p95_s=_quantile(runtime, 0.95),
        peak_memory_bytes=_largest(run.resource("peak_memory_bytes")),
        peak_gpu_memory_bytes=_largest(run.resource("peak_gpu_memory_bytes")),
        memory_auc_byte_s=_mean(run.resource("memory_auc_byte_s")),
        gpu_memory_auc_byte_s=_mean(_charged(run, MetricName.GPU_MEMORY_AUC_BYTE_S, scheme, fallback=None)),
        cases=len(run.cases),
        failed=int((~run.succeeded).sum()),
        outcomes=count_outcomes(run),
        host=describe_host(record.host),
        host_kind=host_kind,
        marks=marks_of(run),
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
        "incomplete": not run.complete,
        "predictions": record.source == "predictions",
        "requires_root": record.opt_outs.requires_root,
        "writable_root": record.opt_outs.writable_root,
        "not_isolated": record.host is not None and not record.host.isolated and record.source == "container",
        "lower_bound": run.lower_bound,
    }
    return tuple(name for name, borne in bears.items() if borne)


def describe_host(host: HostFacts | None) -> str:
    """Return a host in one line."""
    if host is None:
        return ""
    parts = [f"{host.cpu_model}, {host.cores} cores", f"{host.memory_bytes / 1024**3:.0f} GiB", *host.gpus]
    return ", ".join(part for part in parts if part)


def _metric_mean(run: RunValues, metric: Metric, challenge: Challenge, annotated: Bools) -> float | None:
    if metric.labels is None and not (run.succeeded & ~np.isnan(run.resource(metric.metric))).any():
        return metric.failed if run.record.source == "container" and not run.succeeded.any() else None
    members = challenge.label_groups[metric.labels] if metric.labels is not None else ()
    return _mean(metric_values(run, metric, members, annotated))


def _group_means(
    run: RunValues,
    scores: Floats,
    name: MetricName,
    challenge: Challenge,
    scheme: RankingScheme,
    annotated: Bools,
) -> dict[str, float | None]:
    """Mean over cases of the mean over each case's annotated labels of the group."""
    means = {}
    for group, members in challenge.label_groups.items():
        columns = np.isin(run.labels, members)
        failed = failed_value(scheme, name, group) or 0.0
        charged = charge(run, scores[:, columns], failed)
        wanted = annotated[:, columns]
        count = wanted.sum(axis=1)
        per_case = np.where(wanted, charged, 0.0).sum(axis=1) / np.maximum(count, 1)
        means[group] = _mean(np.where(count > 0, per_case, np.nan))
    return means


def _organ_means(
    run: RunValues,
    scores: Floats,
    name: MetricName,
    challenge: Challenge,
    scheme: RankingScheme,
    annotated: Bools,
) -> dict[str, float | None]:
    charged = charge(run, scores, failed_value(scheme, name) or 0.0)
    wanted = np.where(annotated, charged, np.nan)
    return {label.name: _mean(wanted[:, column]) for column, label in enumerate(challenge.labels)}


def _charged(run: RunValues, name: MetricName, scheme: RankingScheme, *, fallback: float | None) -> Floats:
    """Return a resource over the cases, a failed one at its failed value; all NaN if never measured."""
    measured = run.resource(name)
    if run.record.source == "predictions":
        return measured
    failed = failed_value(scheme, name)
    charge_with = fallback if failed is None else failed
    if charge_with is None or (run.succeeded.any() and np.isnan(measured[run.succeeded]).all()):
        return np.where(run.succeeded, measured, np.nan)
    return np.where(run.succeeded, measured, charge_with)


def _known(values: Floats) -> Floats:
    return values[~np.isnan(values)]


def _mean(values: Floats) -> float | None:
    known = _known(values)
    return float(known.mean()) if len(known) else None


def _largest(values: Floats) -> float | None:
    known = _known(values)
    return float(known.max()) if len(known) else None


def _quantile(values: Floats, share: float) -> float | None:
    known = _known(values)
    return float(np.quantile(known, share, method="inverted_cdf")) if len(known) else None
