"""One run as arrays: what ranking and reporting need of its records, a row per case of the challenge.

Records are good for writing and checking, arrays for counting: a thousand runs of a thousand cases
are 14 million label scores. Everything after this module works on `RunValues`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from harness.challenge import MetricName
from harness.results.records import ExecutionRecord, Outcome, RunRecord, ScoreRecord

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)
MISSING = -1
"""The outcome code of a case without an execution record."""
_CODES = {outcome.value: code for code, outcome in enumerate(OUTCOMES)}

USAGE_FIELDS = (
    "peak_memory_bytes",
    "memory_auc_byte_s",
    "cpu_utilisation_auc_percent_s",
    "peak_gpu_memory_bytes",
    "gpu_memory_auc_byte_s",
)
RESOURCES = ("runtime_s", *USAGE_FIELDS)
LOWER_BOUND = "sampled-lower-bound"
"""How a peak memory was measured that may have been higher."""
_GPU_FIELDS = ("peak_gpu_memory_bytes", "gpu_memory_auc_byte_s")


class Results(Protocol):
    """A run read from disk. `harness.results.folder.RunResults` is one."""

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
        profile: The scoring profile; empty if nothing is scored.
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
        """Whether every case came to a verdict: it was executed and, if it succeeded, scored."""
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


class ExecutionFacts(NamedTuple):
    """What counts of an execution record; `resources` in the order of `RESOURCES`."""

    case: str
    outcome: str
    prediction_sha256: str | None
    lower_bound: bool
    resources: tuple[float | None, ...]


class ScoreFacts(NamedTuple):
    """What counts of a score record; `labels` holds (label, DSC, NSD)."""

    case: str
    profile: str
    prediction_sha256: str | None
    labels: list[tuple[int, float | None, float | None]]


def from_results(results: Results, *, labels: tuple[int, ...], profile: str) -> RunValues:
    """Turn a run's records into arrays.

    Args:
        results: The run.
        labels: The label values of the challenge, in the order wanted.
        profile: The scoring profile wanted; see `assemble`.
    """
    executions = map(execution_facts, results.executions)
    scores = (
        ScoreFacts(
            case=score.case,
            profile=score.profile,
            prediction_sha256=score.prediction_sha256,
            labels=[(label.label, label.dsc, label.nsd) for label in score.scores],
        )
        for score in results.scores
    )
    return assemble(results.folder, results.record, executions, scores, labels=labels, profile=profile)


def execution_facts(execution: ExecutionRecord) -> ExecutionFacts:
    """Return what counts of an execution record."""
    return ExecutionFacts(
        case=execution.case,
        outcome=execution.outcome.value,
        prediction_sha256=execution.prediction.sha256 if execution.prediction is not None else None,
        lower_bound=execution.usage.peak_memory_method == LOWER_BOUND,
        resources=(execution.stages.run_s, *(getattr(execution.usage, name) for name in USAGE_FIELDS)),
    )


def assemble(
    folder: Path,
    record: RunRecord,
    executions: Iterable[ExecutionFacts],
    scores: Iterable[ScoreFacts],
    *,
    labels: tuple[int, ...],
    profile: str,
) -> RunValues:
    """Lay out a run's records as arrays.

    Records of cases that are not in the data set are left out; of several of a case the last counts. A score
    of another prediction than the case's last one is stale and does not count.

    Args:
        folder: The run's folder.
        record: What was run.
        executions: In the order they were written.
        scores: In the order they were written.
        labels: The label values of the challenge, in the order wanted.
        profile: The scoring profile wanted. A run that has no score under it is shown under one that it has.
    """
    row_of = {case: row for row, case in enumerate(record.dataset.cases)}
    count = len(row_of)

    final = {execution.case: execution for execution in executions if execution.case in row_of}
    rows = np.array([row_of[case] for case in final], dtype=np.intp)
    outcomes = np.full(count, MISSING, dtype=np.int8)
    outcomes[rows] = [_CODES[execution.outcome] for execution in final.values()]
    measured = np.full((len(RESOURCES), count), np.nan)
    if final:
        measured[:, rows] = np.array(
            [execution.resources for execution in final.values()], dtype=np.float64
        ).T
    resources = dict(zip(RESOURCES, measured, strict=True))
    without_gpu(record, outcomes, resources)

    by_profile: dict[str, dict[str, ScoreFacts]] = defaultdict(dict)
    for score in scores:
        execution = final.get(score.case)
        stale = execution is not None and execution.prediction_sha256 != score.prediction_sha256
        if score.case in row_of and not stale:
            by_profile[score.profile][score.case] = score
    if profile not in by_profile:
        profile = max(by_profile, key=lambda name: (len(by_profile[name]), name), default="")
    taken = by_profile.get(profile, {})

    scored = np.zeros(count, dtype=bool)
    dsc = np.full((count, len(labels)), np.nan)
    nsd = np.full((count, len(labels)), np.nan)
    if taken:
        rows = np.array([row_of[case] for case in taken], dtype=np.intp)
        scored[rows] = [score.prediction_sha256 is not None for score in taken.values()]
        flat = chain.from_iterable(label for score in taken.values() for label in score.labels)
        values = np.array(list(flat), dtype=np.float64).reshape(-1, 3)
        rows = np.repeat(rows, [len(score.labels) for score in taken.values()])
        column_of = np.full(256, -1)
        column_of[list(labels)] = np.arange(len(labels))
        columns = column_of[values[:, 0].astype(np.intp)]
        known = columns >= 0
        dsc[rows[known], columns[known]] = values[known, 1]
        nsd[rows[known], columns[known]] = values[known, 2]
    return RunValues(
        folder=folder,
        record=record,
        labels=labels,
        profile=profile,
        outcomes=outcomes,
        scored=scored,
        dsc=dsc,
        nsd=nsd,
        resources=resources,
        lower_bound=any(execution.lower_bound for execution in final.values()),
    )


def without_gpu(record: RunRecord, outcomes: npt.NDArray[np.int8], resources: dict[str, Floats]) -> None:
    """Fill in zeros, in place, for the device memory of containers that had no GPU to use."""
    if record.host is None or (record.limits.gpu and record.host.gpus):
        return
    for name in _GPU_FIELDS:
        values = resources[name]
        values[np.isnan(values) & (outcomes != MISSING)] = 0.0
