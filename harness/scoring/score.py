"""Score what was harvested: a function of files on disk, at any time and without an engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from evaluator import EvaluatorError, GeometryError, Scoring, read_header
from evaluator import __version__ as evaluator_version
from evaluator.metrics import in_table_order
from evaluator.scores import CaseScore
from harness.challenge import Challenge
from harness.data.dataset import Case, Dataset, file_sha256
from harness.errors import ConfigurationError, InfrastructureError
from harness.results.folder import RunResults, RunWriter, read_run
from harness.results.observer import Observer
from harness.results.records import (
    NO_PREDICTION,
    NOT_ANNOTATED,
    ExecutionRecord,
    LabelScoreRecord,
    Outcome,
    RaterScoreRecord,
    ScoreRecord,
)
from harness.scoring import child
from harness.scoring.child import score_apart


def score_execution(
    execution: ExecutionRecord,
    case: Case,
    *,
    challenge: Challenge,
    folder: Path,
    profile: str,
    metrics: tuple[str, ...] = (),
) -> ScoreRecord:
    """Return the scores of one executed case.

    Without a usable prediction nothing is computed: what a failed case counts is decided when ranking.

    Args:
        execution: The case's last execution.
        case: Its reference.
        challenge: Labels and metrics.
        folder: The run's folder, which holds the prediction.
        profile: The scoring profile.
        metrics: What to compute; by default what the challenge names.

    Raises:
        ConfigurationError: the reference cannot be read.
        InfrastructureError: the harvested prediction is gone or changed.
    """
    if case.label is None:
        raise ConfigurationError(f"case {case.id} has no label", mend="Score a data set with references.")
    prediction = None
    if execution.prediction is not None:
        prediction = folder / execution.prediction.path
        if not prediction.is_file() or file_sha256(prediction) != execution.prediction.sha256:
            raise InfrastructureError(
                "a harvested prediction is gone or changed", where=prediction, mend="See `harness verify`."
            )
    scoring = Scoring(challenge.labels, profile=profile, metrics=metrics or challenge.computed_metrics)
    notes: tuple[str, ...] = ()
    try:
        scored = _score(case, prediction, scoring)
    except GeometryError as error:
        # The gate compares with the image; a profile may ask for more of the reference.
        notes, prediction = (error.what,), None
        scored = _score(case, None, scoring)
    except MemoryError as error:
        notes, prediction = (f"{error}: its labels are finer than any anatomy",), None
        scored = _score(case, None, scoring)
    usable = scored.scored
    return ScoreRecord(
        case=case.id,
        profile=profile,
        evaluator_version=evaluator_version,
        prediction_sha256=execution.prediction.sha256 if execution.prediction is not None else None,
        reference_sha256=case.reference_sha256(),
        usable=usable,
        scores=label_records(scored, challenge, usable=usable),
        case_scores=stored(scored.scores) if usable else {},
        raters=rater_records(scored.raters, challenge) if usable else (),
        notes=(*notes, *scored.notes),
    )


def unscored(
    results: RunResults,
    cases: Mapping[str, Case],
    *,
    profile: str,
    metrics: tuple[str, ...] = (),
    again: bool = False,
) -> Iterator[ExecutionRecord]:
    """Yield the final executions that have no current score under a profile.

    A score is current if it is of the same prediction and the same reference, holds every metric that is
    wanted, and was made by this version of the evaluator.

    Args:
        results: The run.
        cases: The data set's, by id; executions of others are left out.
        profile: The scoring profile.
        metrics: What is wanted; by default what the run's own challenge names.
        again: Yield all of them.
    """
    scores = results.final_scores(profile)
    wanted = metrics or results.record.challenge.computed_metrics
    for execution in results.final_executions().values():
        case = cases.get(execution.case)
        if execution.outcome is Outcome.INFRASTRUCTURE or case is None or case.label is None:
            continue
        score = scores.get(execution.case)
        if again or score is None or not _is_current(score, execution, case, wanted):
            yield execution


def score_run(
    folder: Path,
    dataset: Dataset,
    *,
    profile: str | None = None,
    metrics: tuple[str, ...] = (),
    again: bool = False,
    observer: Observer | None = None,
) -> RunResults:
    """Score what a run harvested, without running anything.

    Args:
        folder: The run's folder.
        dataset: Must hold every case of the run, with its reference.
        profile: Instead of the challenge's.
        metrics: What to compute beside what the run's own challenge names.
        again: Also where a current score is there already.
        observer: Told of each score.

    Raises:
        ConfigurationError: a case of the run is not in the data set.
        InfrastructureError: a prediction is gone or changed, or another process writes this run.
    """
    observer = observer or Observer()
    results = read_run(folder)
    challenge = results.record.challenge
    cases = cases_by_id(dataset)
    if missing := [case for case in results.record.dataset.cases if case not in cases]:
        raise ConfigurationError(
            f"{len(missing)} case(s) of the run are not in this data set, such as {missing[0]}",
            where=dataset.folder,
            mend="Give the data set that the run was made with.",
        )
    with RunWriter(folder, results.record) as writer:
        score_missing(
            writer,
            cases,
            challenge,
            profile=profile or challenge.profile,
            metrics=in_table_order({*challenge.computed_metrics, *metrics}),
            again=again,
            observer=observer,
        )
    return read_run(folder)


def score_missing(
    writer: RunWriter,
    cases: Mapping[str, Case],
    challenge: Challenge,
    *,
    profile: str,
    observer: Observer,
    metrics: tuple[str, ...] = (),
    again: bool = False,
) -> None:
    """Write the scores that a run lacks. See `score_run`."""
    lacking = unscored(read_run(writer.folder), cases, profile=profile, metrics=metrics, again=again)
    for execution in lacking:
        observer.case_stage(execution.case, "score")
        score = score_execution(
            execution,
            cases[execution.case],
            challenge=challenge,
            folder=writer.folder,
            profile=profile,
            metrics=metrics,
        )
        observer.case_scored(writer.add_score(score))


def metrics_of(score: ScoreRecord) -> tuple[str, ...]:
    """Return the metrics that a score holds; none of a case without a usable prediction."""
    held = {
        key for scores in (*(label.scores for label in score.scores), score.case_scores) for key in scores
    }
    return in_table_order(held)


def cases_by_id(dataset: Dataset) -> Mapping[str, Case]:
    """Return a data set's cases by their ids."""
    return {case.id: case for case in dataset.cases}


def _is_current(score: ScoreRecord, execution: ExecutionRecord, case: Case, metrics: tuple[str, ...]) -> bool:
    prediction = execution.prediction.sha256 if execution.prediction is not None else None
    return (
        score.prediction_sha256 == prediction
        and score.evaluator_version == evaluator_version
        and holds(score, metrics)
        and score.reference_sha256 == case.reference_sha256()
    )


def holds(score: ScoreRecord, metrics: tuple[str, ...]) -> bool:
    """Whether every metric was computed that could be; a score may be older than the wish for one."""
    computed = (label.scores for label in score.scores if label.scores)
    return all(set(metrics) <= scores.keys() | score.case_scores.keys() for scores in computed)


def _score(case: Case, prediction: Path | None, scoring: Scoring) -> CaseScore:
    from evaluator import score_case  # its kernels take longer to load than a command line may take to answer

    assert case.label is not None
    try:
        voxels = read_header(case.label).voxel_count * max(1, len(case.raters))
        score = partial(score_apart, voxels=voxels) if voxels >= child.LARGE_VOXELS else score_case
        return score(
            dict(case.raters) or case.label,
            prediction,
            scoring,
            annotated=case.annotated,
            case=case.id,
            image=case.image,
        )
    except GeometryError:
        raise
    except EvaluatorError as error:
        raise ConfigurationError(error.what, where=error.where, mend=error.mend) from error


def rater_records(raters: Sequence[CaseScore], challenge: Challenge) -> tuple[RaterScoreRecord, ...]:
    """Return the scores against each rater, or of each rater, as they are stored."""
    return tuple(
        RaterScoreRecord(
            rater=score.rater,
            scores=label_records(score, challenge, usable=True),
            case_scores=stored(score.scores),
        )
        for score in raters
    )


def label_records(scored: CaseScore, challenge: Challenge, *, usable: bool) -> tuple[LabelScoreRecord, ...]:
    """Return a case's label scores as they are stored, a row for each label of the challenge."""
    by_value = {score.label: score for score in scored.labels}
    rows = []
    for label in challenge.labels:
        score = by_value.get(label.value)
        if score is None:
            rows.append(LabelScoreRecord(label=label.value, organ=label.name, note=NOT_ANNOTATED))
            continue
        rows.append(
            LabelScoreRecord(
                label=label.value,
                organ=label.name,
                scores=stored(score.scores) if usable else {},
                reference_ml=score.reference_ml,
                prediction_ml=score.prediction_ml,
                note=score.note if usable else NO_PREDICTION,
            )
        )
    return tuple(rows)


def stored(scores: Mapping[str, float]) -> dict[str, float | None]:
    """Return scores as JSON can hold them: NaN, of a label that the rules leave out, becomes None."""
    return {key: None if math.isnan(value) else value for key, value in scores.items()}
