"""Numbers out of others' tables as a run of their own: marked, and not ranked against what ran here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.challenge import Challenge
from harness.data.dataset import Dataset, file_sha256
from harness.data.names import some
from harness.errors import ConfigurationError
from harness.results.folder import RunResults, RunWriter, check_team, check_title, read_run
from harness.results.naming import dataset_facts, run_name
from harness.results.records import (
    Evidence,
    ExecutionRecord,
    LabelScoreRecord,
    Outcome,
    RunRecord,
    ScoreRecord,
    Stages,
    Usage,
)
from harness.results.versions import versions

EVALUATOR = "imported"
"""What scored an imported case, as its record says."""


@dataclass(frozen=True)
class ImportedCase:
    """What tables say of one case.

    Attributes:
        case: Its id in the tables.
        scores: By label value and metric key; NaN where the table says that a label does not count.
        reference_ml: Volumes of labels in the reference, where the table tells them.
        run_s: Wall clock.
        usage: Memory and the like; what the table does not hold is None.
    """

    case: str
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    reference_ml: Mapping[int, float] = field(default_factory=dict)
    run_s: float | None = None
    usage: Usage = field(default_factory=Usage)


@dataclass(frozen=True)
class ImportRequest:
    """Whose numbers, and where they go.

    Attributes:
        files: The tables, for the record.
        profile: The rules that the scores were made by.
        source: Whose tables they are, such as `FLARE`.
    """

    team: str
    files: Sequence[Path]
    challenge: Challenge
    dataset: Dataset
    results: Path
    profile: str
    source: str
    title: str = ""
    argv: tuple[str, ...] = ()


def import_cases(request: ImportRequest, cases: Sequence[ImportedCase]) -> RunResults:
    """Store imported cases as a run; cases of the data set that they lack count as without output.

    Raises:
        ConfigurationError: the cases are not those of the data set, or the team's name will not do.
    """
    check_team(request.team)
    check_title(request.title)
    known = {case.id: case for case in request.dataset.cases}
    by_name = {case.case: case for case in cases}
    if not known.keys() & by_name.keys():
        raise ConfigurationError(
            f"no case of the tables is one of the data set: there are {some(sorted(by_name))}",
            where=request.files[0],
            mend=f"The data set's are named like {next(iter(known))}.",
        )
    record = _record(request)
    folder = request.results / request.challenge.name / request.team / record.run
    if folder.exists():
        return read_run(folder)
    with RunWriter(folder, record) as writer:
        for name, case in known.items():
            found = by_name.get(name)
            writer.add_execution(_execution(name, found, request, record.created_at))
            if found is not None:
                reference = file_sha256(case.label) if case.label is not None else ""
                writer.add_score(_score(found, request, reference))
    return read_run(folder)


def _execution(
    name: str, found: ImportedCase | None, request: ImportRequest, now: datetime
) -> ExecutionRecord:
    summary = f"imported from {request.source}'s tables"
    if found is None:
        summary = f"{request.source}'s tables have no row for it"
    return ExecutionRecord(
        case=name,
        outcome=Outcome.SUCCEEDED if found is not None else Outcome.NO_OUTPUT,
        evidence=Evidence(summary=summary),
        started_at=now,
        stages=Stages(run_s=found.run_s if found is not None else None),
        usage=found.usage if found is not None else Usage(),
    )


def _score(found: ImportedCase, request: ImportRequest, reference_sha256: str) -> ScoreRecord:
    return ScoreRecord(
        case=found.case,
        profile=request.profile,
        evaluator_version=EVALUATOR,
        prediction_sha256=None,
        reference_sha256=reference_sha256,
        scores=tuple(
            LabelScoreRecord(
                label=label.value,
                organ=label.name,
                scores={key: _known(value) for key, value in found.scores[label.value].items()},
                reference_ml=found.reference_ml.get(label.value),
                note=f"imported from {request.source}'s tables",
            )
            for label in request.challenge.labels
            if label.value in found.scores
        ),
        notes=(f"imported from {request.source}'s tables",),
    )


def _known(value: float) -> float | None:
    return None if value != value else value


def _record(request: ImportRequest) -> RunRecord:
    hashes = {path.name: file_sha256(path) for path in request.files}
    fingerprint = request.dataset.fingerprint()
    identity = {"imported": hashes, "dataset": fingerprint, "profile": request.profile}
    return RunRecord(
        run=run_name(identity),
        team=request.team,
        title=request.title,
        source="imported",
        imported=hashes,
        challenge=request.challenge,
        limits=request.challenge.limits,
        dataset=dataset_facts(request.dataset, fingerprint),
        versions=versions(),
        argv=request.argv,
        created_at=datetime.now(UTC),
    )
