"""One run as arrays: what ranking and reporting need of its records, a row per case of the challenge.

Records are good for writing and checking, arrays for counting: a thousand runs of a thousand cases
are 14 million label scores. Everything after this module works on `RunValues`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from harness.challenge.metrics import MEASURED
from harness.results.records import Outcome, RunRecord, Usage

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OUTCOMES: tuple[Outcome, ...] = tuple(Outcome)
MISSING = -1
"""The outcome code of a case without an execution record."""
_CODES = {outcome.value: code for code, outcome in enumerate(OUTCOMES)}

RUNTIME = "runtime_s"
USAGE_FIELDS = tuple(key for key in MEASURED if key in Usage.model_fields)
RESOURCES = (RUNTIME, *USAGE_FIELDS)
"""What is measured of each case, by the key of the metric that it is."""
MOST_LABEL_NUMBER = 65_535
"""Voxel values go to 255; regions of several values have numbers beyond."""
ABSENT = -np.inf
"""Stands for a metric that was not computed; no metric is that small."""
LOWER_BOUND = "sampled-lower-bound"
"""How a peak memory was measured that may have been higher."""
_GPU_FIELDS = ("peak_gpu_memory_bytes", "gpu_memory_auc_byte_s")


@dataclass(frozen=True)
class Wanted:
    """What is read of the scores.

    Attributes:
        labels: The challenge's label values, in the order wanted.
        label_metrics: Keys of the metrics that are a number per label.
        case_metrics: Keys of those that are a number per case.
        profile: The scoring profile. A run that has no score under it is shown under one that it has.
    """

    labels: tuple[int, ...]
    label_metrics: tuple[str, ...]
    case_metrics: tuple[str, ...] = ()
    profile: str = "exact"


@dataclass(frozen=True, eq=False)
class RunValues:
    """A run's outcomes, scores and resources; arrays run over `record.dataset.cases`, in that order.

    Attributes:
        folder: The run's folder; evidence, logs and predictions are below it.
        record: What was run.
        labels: The challenge's label values, the order of the last axis of `scores`.
        profile: The scoring profile; empty if nothing is scored.
        outcomes: int8 (cases,), an index into `OUTCOMES`, or `MISSING`.
        scored: bool (cases,), whether the last prediction was scored.
        usable: bool (cases,), whether it could be compared with the reference when it was.
        scores: By metric key, float64 (cases, labels), or (cases,) of a metric that is a number per case; NaN
            where there is no value. A metric that the scores do not hold is not in it.
        rater_scores: As `scores`, of cases with several raters: the mean over those against each of them.
            People have no others.
        left_out: By metric, bool (cases, labels): where the rules leave a label out that the case annotates,
            because neither volume holds it. Metrics that leave nothing out are not in it.
        reference_ml: float64 (cases, labels), the label's volume in the reference; NaN where it is not known.
        prediction_ml: The same in the prediction.
        resources: float64 (cases,) by name of `RESOURCES`, in the unit of the name; NaN where not measured.
        lower_bound: Whether a peak memory is a sampled lower bound.
        cold_start: The run times in s of one case that was run twice, the first one and the one that counts;
            None if none was.
        signed: Whether this host's key signed the run. Nobody vouches for the numbers of any other.
    """

    folder: Path
    record: RunRecord
    labels: tuple[int, ...]
    profile: str
    outcomes: npt.NDArray[np.int8]
    scored: Bools
    usable: Bools
    scores: Mapping[str, Floats]
    rater_scores: Mapping[str, Floats]
    left_out: Mapping[str, Bools]
    reference_ml: Floats
    prediction_ml: Floats
    resources: dict[str, Floats]
    lower_bound: bool = False
    cold_start: tuple[float, float] | None = None
    signed: bool = True

    @property
    def cases(self) -> tuple[str, ...]:
        """The challenge's cases, in order."""
        return self.record.dataset.cases

    @property
    def is_human(self) -> bool:
        """Whether it is the row of the data set's own raters."""
        return self.record.source == "raters"

    @property
    def succeeded(self) -> Bools:
        """Cases that ended well and have scores; every other one counts as failed."""
        ended_well = self.outcomes == OUTCOMES.index(Outcome.SUCCEEDED)
        if self.record.source != "container":
            ended_well = ended_well | (self.outcomes == MISSING)
        return np.asarray(ended_well & self.scored)

    @property
    def complete(self) -> bool:
        """Whether every case came to a verdict: it was executed and, if it succeeded, scored."""
        unfinished = self.outcomes == OUTCOMES.index(Outcome.INFRASTRUCTURE)
        # Imported rows and older folders of predictions have scores alone.
        if self.record.source == "container" or not self.scored.any():
            unfinished = unfinished | (self.outcomes == MISSING)
        unscored = (self.outcomes == OUTCOMES.index(Outcome.SUCCEEDED)) & ~self.scored
        return not bool((unfinished | unscored).any())

    @property
    def annotated(self) -> Bools:
        """bool (cases, labels): whether the case's reference annotates the label."""
        facts = self.record.dataset
        mask = np.ones((len(facts.cases), len(self.labels)), dtype=bool)
        regions = [label for label in self.record.challenge.labels if label.parts]
        for row, case in enumerate(facts.cases):
            if case in facts.annotated:
                values = facts.annotated[case]
                whole = [region.value for region in regions if set(region.parts) <= set(values)]
                mask[row] = np.isin(self.labels, [*values, *whole])
        return mask

    def resource(self, metric: str) -> Floats:
        """Return the measured values of a resource metric, (cases,), NaN where there is none."""
        return self.resources[metric]


class ExecutionFacts(NamedTuple):
    """What counts of an execution record; `resources` in the order of `RESOURCES`."""

    case: str
    outcome: str
    prediction_sha256: str | None
    lower_bound: bool
    resources: tuple[float | None, ...]


class ScoreFacts(NamedTuple):
    """What counts of a score record.

    `labels` holds, of each label that something was computed for, its value, its ml in the reference and in
    the prediction (`None` where unknown), and then its scores in the order of the metrics wanted: `None`
    where the rules leave it out, `ABSENT` where the metric was not computed.
    `case_scores` are those that are a number per case. `raters` holds both of what it is against each single
    rater, where the case has several.
    """

    case: str
    profile: str
    prediction_sha256: str | None
    usable: bool
    labels: Sequence[tuple[float | None, ...]]
    case_scores: Mapping[str, float | None] = {}
    raters: Sequence[tuple[Sequence[tuple[float | None, ...]], Mapping[str, float | None]]] = ()


def assemble(
    folder: Path,
    record: RunRecord,
    executions: Iterable[ExecutionFacts],
    scores: Iterable[ScoreFacts],
    wanted: Wanted,
) -> RunValues:
    """Lay out a run's records as arrays.

    Records of cases that are not in the data set are left out; of several of a case the last counts. A score
    of another prediction than the case's last one is stale and does not count.

    Args:
        folder: The run's folder.
        record: What was run.
        executions: In the order they were written.
        scores: In the order they were written.
        wanted: What is read of the scores.
    """
    row_of = {case: row for row, case in enumerate(record.dataset.cases)}
    history = [execution for execution in executions if execution.case in row_of]
    final = {execution.case: execution for execution in history}
    outcomes, resources = _lay_out_executions(final, row_of)
    without_gpu(record, outcomes, resources)

    current = (
        score
        for score in scores
        if score.case in row_of
        and (score.case not in final or final[score.case].prediction_sha256 == score.prediction_sha256)
    )
    profile, taken = _of_one_profile(current, wanted.profile)
    rows = np.array([row_of[score.case] for score in taken], dtype=np.intp)
    scored, usable = np.zeros((2, len(row_of)), dtype=bool)
    # What was imported has scores without predictions.
    imported = record.source == "imported"
    scored[rows] = [imported or score.prediction_sha256 is not None for score in taken]
    usable[rows] = [score.usable for score in taken]
    values, left_out, volumes = _lay_out_scores(taken, rows, len(row_of), wanted)
    rater_scores = _lay_out_rater_scores(taken, rows, len(row_of), wanted)
    if record.source == "raters":
        values, left_out, volumes = {}, {}, np.full_like(volumes, np.nan)
    if imported:
        values = {key: found for key, found in values.items() if not np.isnan(found).all()}
    return RunValues(
        folder=folder,
        record=record,
        labels=wanted.labels,
        profile=profile,
        outcomes=outcomes,
        scored=scored,
        usable=scored & usable,
        scores=values,
        rater_scores=rater_scores,
        left_out=left_out,
        reference_ml=volumes[0],
        prediction_ml=volumes[1],
        resources=resources,
        lower_bound=any(execution.lower_bound for execution in final.values()),
        cold_start=_cold_start(history, final),
    )


def _cold_start(
    history: Sequence[ExecutionFacts], final: Mapping[str, ExecutionFacts]
) -> tuple[float, float] | None:
    """Return the run times of the first case that succeeded twice: the first one, and the one that counts."""
    place = RESOURCES.index(RUNTIME)
    for first in history:
        last = final[first.case]
        if first is not last and first.outcome == last.outcome == Outcome.SUCCEEDED:
            cold, warm = first.resources[place], last.resources[place]
            return None if cold is None or warm is None else (cold, warm)
    return None


def _lay_out_executions(
    final: Mapping[str, ExecutionFacts], row_of: Mapping[str, int]
) -> tuple[npt.NDArray[np.int8], dict[str, Floats]]:
    rows = np.array([row_of[case] for case in final], dtype=np.intp)
    outcomes = np.full(len(row_of), MISSING, dtype=np.int8)
    outcomes[rows] = [_CODES[execution.outcome] for execution in final.values()]
    measured = np.full((len(RESOURCES), len(row_of)), np.nan)
    if final:
        values = [execution.resources for execution in final.values()]
        measured[:, rows] = np.array(values, dtype=np.float64).T
    return outcomes, dict(zip(RESOURCES, measured, strict=True))


def _of_one_profile(scores: Iterable[ScoreFacts], profile: str) -> tuple[str, list[ScoreFacts]]:
    """Return the last score of each case under a profile; if it has none, under the one that has most."""
    by_profile: dict[str, dict[str, ScoreFacts]] = defaultdict(dict)
    for score in scores:
        by_profile[score.profile][score.case] = score
    if profile not in by_profile:
        profile = max(by_profile, key=lambda name: (len(by_profile[name]), name), default="")
    return profile, list(by_profile.get(profile, {}).values())


def _lay_out_scores(
    taken: Sequence[ScoreFacts], rows: npt.NDArray[np.intp], cases: int, wanted: Wanted
) -> tuple[dict[str, Floats], dict[str, Bools], Floats]:
    """Return scores, what the rules leave out, and the volumes (2, cases, labels), the reference's first."""
    width = 3 + len(wanted.label_metrics)
    flat = chain.from_iterable(label for score in taken for label in score.labels)
    numbers = np.array(list(flat), dtype=np.float64).reshape(-1, width)
    values_of_rows = numbers[:, 0].astype(np.intp)
    column_of = np.full(max(*wanted.labels, values_of_rows.max(initial=0)) + 1, -1)
    column_of[list(wanted.labels)] = np.arange(len(wanted.labels))
    columns = column_of[values_of_rows]
    known = columns >= 0
    place = (np.repeat(rows, [len(score.labels) for score in taken])[known], columns[known])
    volumes = np.full((2, cases, len(wanted.labels)), np.nan)
    volumes[0][place], volumes[1][place] = numbers[known, 1], numbers[known, 2]
    values: dict[str, Floats] = {}
    left_out: dict[str, Bools] = {}
    for key, column in zip(wanted.label_metrics, numbers[known, 3:].T, strict=True):
        if (column == ABSENT).any():
            continue
        values[key] = np.full((cases, len(wanted.labels)), np.nan)
        values[key][place] = column
        if np.isnan(column).any():
            left_out[key] = np.zeros((cases, len(wanted.labels)), dtype=bool)
            left_out[key][place] = np.isnan(column)
    usable = [(row, score.case_scores) for row, score in zip(rows, taken, strict=True) if score.usable]
    for key in wanted.case_metrics:
        if all(key in scores for _, scores in usable):
            values[key] = np.full(cases, np.nan)
            values[key][[row for row, _ in usable]] = np.array(
                [scores[key] for _, scores in usable], np.float64
            )
    return values, left_out, volumes


def _lay_out_rater_scores(
    taken: Sequence[ScoreFacts], rows: npt.NDArray[np.intp], cases: int, wanted: Wanted
) -> dict[str, Floats]:
    """Return what each case's scores against its single raters are on average.

    A value that is left out against one rater is left out of the mean.
    """
    each = []
    for place in range(max((len(score.raters) for score in taken), default=0)):
        held = [(row, score) for row, score in zip(rows, taken, strict=True) if len(score.raters) > place]
        against = [
            score._replace(labels=score.raters[place][0], case_scores=score.raters[place][1])
            for _, score in held
        ]
        each.append(_lay_out_scores(against, np.array([row for row, _ in held]), cases, wanted)[0])
    means = {}
    for key in each[0] if each else ():
        if all(key in scores for scores in each):
            stacked = np.stack([scores[key] for scores in each])
            counted = ~np.isnan(stacked)
            total = np.where(counted, stacked, 0.0).sum(axis=0)
            means[key] = np.where(counted.any(axis=0), total / np.maximum(counted.sum(axis=0), 1), np.nan)
    return means


def without_gpu(record: RunRecord, outcomes: npt.NDArray[np.int8], resources: dict[str, Floats]) -> None:
    """Fill in zeros, in place, for the device memory of containers that had no GPU to use."""
    if record.host is None or (record.limits.gpu and record.host.gpus):
        return
    for name in _GPU_FIELDS:
        values = resources[name]
        values[np.isnan(values) & (outcomes != MISSING)] = 0.0
