"""One run as arrays: what ranking and reporting need of its records, a row per case of the challenge.

Records are good for writing and checking, arrays for counting: a thousand runs of a thousand cases
are 14 million label scores. Everything after this module works on `RunValues`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from harness.challenge import MetricName
from harness.run.records import ExecutionRecord, Outcome, RunRecord, ScoreRecord

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)
MISSING = -1
"""The outcome code of a case without an execution record."""

USAGE_FIELDS = (
    "peak_memory_bytes",
    "memory_auc_byte_s",
    "cpu_utilisation_auc_percent_s",
    "peak_gpu_memory_bytes",
    "gpu_memory_auc_byte_s",
)
RESOURCES = ("runtime_s", *USAGE_FIELDS)
_GPU_FIELDS = ("peak_gpu_memory_bytes", "gpu_memory_auc_byte_s")


class Results(Protocol):
    """A run read from disk. `harness.run.journal.RunResults` is one."""

    @property
    def folder(self) -> Path:
        """The run's folder."""

    @property
    def record(self) -> RunRecord:
        """What was run."""

    @property
    def executions(self) -> Sequence[ExecutionRecord]:
        """One record per case and attempt, in the order they were written."""

    @property
    def scores(self) -> Sequence[ScoreRecord]:
        """One record per scored case; a later one of the same case replaces an earlier one."""


@dataclass(frozen=True, eq=False)
class RunValues:
    """A run's outcomes, scores and resources; arrays run over `record.dataset.cases`, in that order.

    Attributes:
        folder: The run's folder; evidence, logs and predictions are below it.
        record: What was run.
        labels: The challenge's label values, the order of the last axis of `dsc` and `nsd`.
        profile: The scoring profile; several joined by `+` if scores were mixed; empty if nothing is scored.
        outcomes: int8 (cases,), an index into `OUTCOMES`, or `MISSING`.
        scored: bool (cases,), whether a usable prediction was scored.
        dsc: float64 (cases, labels), fractions; NaN where there is no value.
        nsd: float64 (cases, labels), fractions; NaN where there is no value.
        resources: float64 (cases,) by name of `RESOURCES`, in the unit of the name; NaN where not measured.
        lower_bound: Whether a peak memory is a sampled lower bound.
    """

    folder: Path
    record: RunRecord
    labels: tuple[int, ...]
    profile: str
    outcomes: npt.NDArray[np.int8]
    scored: Bools
    dsc: Floats
    nsd: Floats
    resources: dict[str, Floats]
    lower_bound: bool = False

    @property
    def cases(self) -> tuple[str, ...]:
        """The challenge's cases, in order."""
        return self.record.dataset.cases

    @property
    def succeeded(self) -> Bools:
        """Cases that ended well and have scores; every other one counts as failed."""
        ended_well = self.outcomes == OUTCOMES.index(Outcome.SUCCEEDED)
        if self.record.source == "predictions":
            ended_well = ended_well | (self.outcomes == MISSING)
        return np.asarray(ended_well & self.scored)

    @property
    def complete(self) -> bool:
        """Whether every case came to a verdict: executed, not lost to infrastructure, scored if it succeeded."""
        unfinished = self.outcomes == OUTCOMES.index(Outcome.INFRASTRUCTURE)
        if self.record.source == "container":
            unfinished = unfinished | (self.outcomes == MISSING)
        unscored = (self.outcomes == OUTCOMES.index(Outcome.SUCCEEDED)) & ~self.scored
        if self.record.source == "predictions" and not self.scored.any():
            return False
        return not bool((unfinished | unscored).any())

    @property
    def annotated(self) -> Bools:
        """bool (cases, labels): whether the case's reference annotates the label."""
        facts = self.record.dataset
        mask = np.ones((len(facts.cases), len(self.labels)), dtype=bool)
        for row, case in enumerate(facts.cases):
            if case in facts.annotated:
                mask[row] = np.isin(self.labels, facts.annotated[case])
        return mask

    def resource(self, metric: MetricName | str) -> Floats:
        """Return the measured values of a resource metric, (cases,), NaN where there is none."""
        return self.resources[str(metric)]


def from_results(results: Results, *, labels: tuple[int, ...]) -> RunValues:
    """Turn a run's records into arrays.

    Records of cases that are not the challenge's are left out; of several of one case the last counts.

    Args:
        results: The run.
        labels: The label values of the challenge, in the order wanted.
    """
    record = results.record
    row_of = {case: row for row, case in enumerate(record.dataset.cases)}
    column_of = {label: column for column, label in enumerate(labels)}
    count = len(row_of)

    outcomes = np.full(count, MISSING, dtype=np.int8)
    resources = {name: np.full(count, np.nan) for name in RESOURCES}
    lower_bound = False
    for execution in results.executions:
        row = row_of.get(execution.case)
        if row is None:
            continue
        outcomes[row] = OUTCOMES.index(execution.outcome)
        resources["runtime_s"][row] = _number(execution.stages.run_s)
        for name in USAGE_FIELDS:
            resources[name][row] = _number(getattr(execution.usage, name))
        lower_bound |= execution.usage.peak_memory_method == "sampled-lower-bound"
    without_gpu(record, outcomes, resources)

    scored = np.zeros(count, dtype=bool)
    dsc = np.full((count, len(labels)), np.nan)
    nsd = np.full((count, len(labels)), np.nan)
    profiles: dict[str, str] = {}
    for score in results.scores:
        row = row_of.get(score.case)
        if row is None:
            continue
        scored[row] = score.prediction_sha256 is not None
        profiles[score.case] = score.profile
        dsc[row] = nsd[row] = np.nan
        for label in score.scores:
            column = column_of.get(label.label)
            if column is not None:
                dsc[row, column] = _number(label.dsc)
                nsd[row, column] = _number(label.nsd)
    return RunValues(
        folder=results.folder,
        record=record,
        labels=labels,
        profile="+".join(sorted(set(profiles.values()))),
        outcomes=outcomes,
        scored=scored,
        dsc=dsc,
        nsd=nsd,
        resources=resources,
        lower_bound=lower_bound,
    )


def without_gpu(record: RunRecord, outcomes: npt.NDArray[np.int8], resources: dict[str, Floats]) -> None:
    """Fill in zeros, in place, for the device memory of containers that had no GPU to use."""
    if record.host is None or (record.limits.gpu and record.host.gpus):
        return
    for name in _GPU_FIELDS:
        values = resources[name]
        values[np.isnan(values) & (outcomes != MISSING)] = 0.0


def _number(value: float | None) -> float:
    return np.nan if value is None else float(value)
