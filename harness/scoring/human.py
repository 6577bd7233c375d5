"""The human level: a data set's own raters, as a row beside the methods that is never ranked.

Each rater of a case is scored against each of the others, and the row holds the mean over them. The scores of
methods hold what they are against each rater, so that a leaderboard can set both side by side over the same
cases and references. The row is stored like a run, so that it needs nothing but the results.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from evaluator import EvaluatorError, Scoring
from evaluator import __version__ as evaluator_version
from harness.challenge import Challenge
from harness.data.dataset import Case, Dataset
from harness.errors import ConfigurationError
from harness.results.folder import HUMAN, RunResults, RunWriter, read_run
from harness.results.naming import dataset_facts, run_name
from harness.results.records import RunRecord, ScoreRecord
from harness.results.versions import versions
from harness.scoring.score import holds, label_records, rater_records, stored

_TOO_FEW = 2


def has_raters(dataset: Dataset) -> bool:
    """Whether any case has two raters or more, who can be compared."""
    return any(len(case.raters) >= _TOO_FEW for case in dataset.cases)


def score_humans(
    challenge: Challenge,
    dataset: Dataset,
    results: Path,
    *,
    fingerprint: str,
    profile: str | None = None,
) -> RunResults | None:
    """Score the raters against each other and store it; what is current is not computed again.

    Args:
        challenge: Labels and metrics.
        dataset: The data set.
        results: The folder that results are stored in.
        fingerprint: The data set's.
        profile: Scoring profile instead of the challenge's.

    Returns:
        The stored run; `None` if no case has two raters.

    Raises:
        ConfigurationError: a reference cannot be read, or raters annotate different grids.
    """
    if not has_raters(dataset):
        return None
    used = profile or challenge.profile
    record = _record(challenge, dataset, fingerprint)
    folder = results / challenge.name / HUMAN / record.run
    with RunWriter(folder, record) as writer:
        stored_run = read_run(folder)
        known, rules = stored_run.final_scores(used), stored_run.record.challenge
        for case in dataset.cases:
            if len(case.raters) >= _TOO_FEW and not _is_current(known, case, challenge.computed_metrics):
                writer.add_score(score_human(case, rules, profile=used, metrics=challenge.computed_metrics))
    return read_run(folder)


def score_human(case: Case, challenge: Challenge, *, profile: str, metrics: tuple[str, ...]) -> ScoreRecord:
    """Return the human level of one case that has two raters or more.

    Raises:
        ConfigurationError: a reference cannot be read, or raters annotate different grids.
    """
    from evaluator.raters import disagreement  # its kernels take longer to load than a command may take

    try:
        found = disagreement(
            case.id,
            dict(case.raters),
            Scoring(challenge.labels, profile=profile, metrics=metrics),
            annotated=case.annotated,
            against="single",
        )
    except EvaluatorError as error:
        raise ConfigurationError(error.what, where=error.where, mend=error.mend) from error
    if found is None:
        raise ConfigurationError(
            f"case {case.id} has no two raters", mend="Score the data set it was made with."
        )
    level = found.level()
    sha256 = case.reference_sha256()
    return ScoreRecord(
        case=case.id,
        profile=profile,
        evaluator_version=evaluator_version,
        prediction_sha256=sha256,
        reference_sha256=sha256,
        scores=label_records(level, challenge, usable=True),
        case_scores=stored(level.scores),
        raters=rater_records(tuple(found.raters.values()), challenge),
        notes=level.notes,
    )


def _is_current(known: Mapping[str, ScoreRecord], case: Case, metrics: tuple[str, ...]) -> bool:
    score = known.get(case.id)
    return (
        score is not None
        and score.evaluator_version == evaluator_version
        and holds(score, metrics)
        and score.reference_sha256 == case.reference_sha256()
    )


def _record(challenge: Challenge, dataset: Dataset, fingerprint: str) -> RunRecord:
    labels = [(label.value, label.name, label.tolerance_mm, label.parts) for label in challenge.labels]
    identity = {"raters": fingerprint, "labels": labels, "against": "single"}
    names = sorted({name for case in dataset.cases for name, _ in case.raters})
    return RunRecord(
        run=run_name(identity),
        team=HUMAN,
        title=f"the references' {len(names)} raters",
        source="raters",
        challenge=challenge,
        limits=challenge.limits,
        dataset=dataset_facts(dataset, fingerprint),
        versions=versions(),
        created_at=datetime.now(UTC),
    )
