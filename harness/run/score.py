"""Score what was harvested: a function of files on disk, at any time and without an engine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from evaluator import EvaluatorError, GeometryError, LabelTable, score_case
from evaluator import __version__ as evaluator_version
from evaluator.scores import CaseScore
from harness.challenge import Challenge, MetricName
from harness.data.dataset import Case, Dataset, file_sha256
from harness.errors import ConfigurationError, InfrastructureError
from harness.run.journal import RunResults
from harness.run.records import ExecutionRecord, LabelScoreRecord, Outcome, ScoreRecord


def score_execution(
    execution: ExecutionRecord, case: Case, *, challenge: Challenge, folder: Path, profile: str
) -> ScoreRecord:
    """Return the scores of one executed case.

    Without a usable prediction each label gets what the challenge says a failed case gets.

    Args:
        execution: The case's last execution.
        case: Its reference.
        challenge: Labels and failed values.
        folder: The run's folder, which holds the prediction.
        profile: The scoring profile.

    Raises:
        ConfigurationError: the reference cannot be read.
        InfrastructureError: the harvested prediction is gone or changed.
    """
    if case.label is None:
        raise ConfigurationError(f"case {case.case} has no label", mend="Score a data set with references.")
    prediction = None
    if execution.prediction is not None:
        prediction = folder / execution.prediction.path
        if not prediction.is_file() or file_sha256(prediction) != execution.prediction.sha256:
            raise InfrastructureError(
                "a harvested prediction is gone or changed", where=prediction, mend="See `harness verify`."
            )
    notes: tuple[str, ...] = ()
    try:
        scored = _score(case, prediction, challenge.labels, profile)
    except GeometryError as error:
        # The gate compares with the image; a profile may ask for more of the reference.
        notes, prediction = (error.what,), None
        scored = _score(case, None, challenge.labels, profile)
    failed = None if prediction is not None else failed_values(challenge)
    return ScoreRecord(
        case=case.case,
        profile=profile,
        evaluator_version=evaluator_version,
        prediction_sha256=execution.prediction.sha256 if execution.prediction is not None else None,
        reference_sha256=file_sha256(case.label),
        scores=_labels(scored, challenge.labels, failed),
        notes=(*notes, *scored.notes),
    )


def failed_values(challenge: Challenge) -> dict[tuple[MetricName, int], float]:
    """Return what a label of a failed case scores, by metric and label; what is not in it scores 0."""
    values: dict[tuple[MetricName, int], float] = {}
    for metric in challenge.ranking.metrics:
        if metric.labels is not None:
            for label in challenge.label_groups[metric.labels]:
                values.setdefault((metric.metric, label), metric.failed)
    return values


def unscored(results: RunResults, *, profile: str) -> Iterator[ExecutionRecord]:
    """Yield the final executions that have no current score under a profile.

    A score is current if it is of the same prediction and made by this version of the evaluator.
    """
    scores = results.final_scores(profile)
    for execution in results.final_executions().values():
        if execution.outcome is Outcome.INFRASTRUCTURE:
            continue
        score = scores.get(execution.case)
        prediction = execution.prediction.sha256 if execution.prediction is not None else None
        if (
            score is None
            or score.prediction_sha256 != prediction
            or score.evaluator_version != evaluator_version
        ):
            yield execution


def cases_by_id(dataset: Dataset) -> Mapping[str, Case]:
    """Return a data set's cases by their ids."""
    return {case.case: case for case in dataset.cases}


def _score(case: Case, prediction: Path | None, labels: LabelTable, profile: str) -> CaseScore:
    assert case.label is not None
    try:
        return score_case(
            case.label, prediction, labels=labels, profile=profile, annotated=case.annotated, case=case.case
        )
    except GeometryError:
        raise
    except EvaluatorError as error:
        raise ConfigurationError(error.what, where=error.where, mend=error.mend) from error


def _labels(
    scored: CaseScore, table: LabelTable, failed: Mapping[tuple[MetricName, int], float] | None
) -> tuple[LabelScoreRecord, ...]:
    by_value = {score.label: score for score in scored.labels}
    rows = []
    for label in table:
        score = by_value.get(label.value)
        if score is None:
            rows.append(
                LabelScoreRecord(
                    label=label.value, organ=label.name, dsc=None, nsd=None, note="not annotated"
                )
            )
            continue
        dsc, nsd = _number(score.dsc), _number(score.nsd)
        if failed is not None:
            dsc = failed.get((MetricName.DSC, label.value), 0.0)
            nsd = failed.get((MetricName.NSD, label.value), 0.0)
        rows.append(
            LabelScoreRecord(
                label=label.value,
                organ=label.name,
                dsc=dsc,
                nsd=nsd,
                reference_ml=score.reference_ml,
                prediction_ml=score.prediction_ml,
                note=score.note,
            )
        )
    return tuple(rows)


def _number(value: float) -> float | None:
    """Return a score as JSON can hold it: NaN, of a label that a profile leaves out, becomes None."""
    return None if value != value else value
