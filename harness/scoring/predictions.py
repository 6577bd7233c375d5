"""Score a folder of predictions that were made elsewhere, as a run that nothing was run for."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.challenge import Challenge
from harness.data.dataset import Case, Dataset, file_sha256
from harness.data.names import some
from harness.errors import ConfigurationError
from harness.gate.keeper import Gatekeeper
from harness.gate.output import Output, judge_output
from harness.results.folder import RunResults, RunWriter, check_team, check_title, read_run
from harness.results.journal import CASES_FILE, read_lines
from harness.results.naming import dataset_facts, run_name
from harness.results.observer import Observer
from harness.results.plan import plan
from harness.results.records import (
    CONTRACT_VERSION,
    ExecutionRecord,
    RunRecord,
    Stages,
)
from harness.results.versions import versions
from harness.scoring.score import cases_by_id, score_missing
from harness.text import printable


@dataclass(frozen=True)
class PredictionsRequest:
    """Which predictions to score, and where the results go.

    Attributes:
        team: Names the team's folder.
        folder: Holds `CASE.nii.gz` for each case of the data set; a missing one keeps its row.
        profile: Scoring profile instead of the challenge's.
    """

    team: str
    folder: Path
    challenge: Challenge
    dataset: Dataset
    results: Path
    title: str = ""
    profile: str | None = None
    argv: tuple[str, ...] = ()


def score_predictions(request: PredictionsRequest, *, observer: Observer | None = None) -> RunResults:
    """Take predictions through the gate, copy them into a run's folder, and score them.

    Raises:
        ConfigurationError: no such folder, or no prediction of any case in it.
    """
    observer = observer or Observer()
    check_team(request.team)
    check_title(request.title)
    suffix = request.challenge.contract.output_suffix
    if not request.folder.is_dir():
        raise ConfigurationError(
            "the folder of predictions does not exist",
            where=request.folder,
            mend=f"Give a folder of CASE{suffix}.",
        )
    hashes = {
        case.id: file_sha256(path)
        for case in request.dataset.cases
        if (path := request.folder / f"{case.id}{suffix}").is_file()
    }
    if not hashes:
        held = sorted(path.name for path in request.folder.iterdir() if not path.name.startswith("."))
        raise ConfigurationError(
            "the folder holds no prediction of this data set, "
            + (f"but {some(map(printable, held), 3)}" if held else "nothing at all"),
            where=request.folder,
            mend=f"Name each one after its case, such as {request.dataset.cases[0].id}{suffix}.",
        )
    fingerprint = request.dataset.fingerprint(
        lambda done, total: observer.preparing("hashing the data", done, total)
    )
    record = _record(request, fingerprint, hashes)
    folder = request.results / request.challenge.name / request.team / record.run
    with RunWriter(folder, record) as writer, Gatekeeper(request.challenge.labels.voxel_values) as gatekeeper:
        left = plan(request.dataset.cases, read_lines(folder / CASES_FILE, ExecutionRecord))
        observer.run_opened(record, folder, total=len(request.dataset.cases), left=len(left))
        for planned in left:
            observer.case_started(planned.case.id, planned.attempt)
            execution = _take(request, planned.case, planned.attempt, folder, gatekeeper)
            observer.case_finished(writer.add_execution(execution))
        score_missing(
            writer,
            cases_by_id(request.dataset),
            request.challenge,
            profile=request.profile or request.challenge.profile,
            observer=observer,
        )
    return read_run(folder)


def _take(
    request: PredictionsRequest, case: Case, attempt: int, folder: Path, gatekeeper: Gatekeeper
) -> ExecutionRecord:
    started_at, begin = datetime.now(UTC), time.monotonic()
    suffix = request.challenge.contract.output_suffix
    (folder / "cases" / case.id).mkdir(parents=True, exist_ok=True)
    reference = case.image or case.label
    assert reference is not None
    verdict = judge_output(
        Output(request.folder, f"{case.id}{suffix}", request.challenge.limits.output_bytes, hard_links=True),
        reference=reference,
        gatekeeper=gatekeeper,
        run_folder=folder,
        keep_as=f"cases/{case.id}/prediction{suffix}",
    )
    return ExecutionRecord(
        case=case.id,
        attempt=attempt,
        outcome=verdict.outcome,
        evidence=verdict.evidence,
        started_at=started_at,
        stages=Stages(harvest_s=time.monotonic() - begin),
        prediction=verdict.prediction,
        notes=verdict.notes,
    )


def _record(request: PredictionsRequest, fingerprint: str, hashes: dict[str, str]) -> RunRecord:
    identity = {
        "predictions": hashes,
        "dataset": fingerprint,
        "contract": request.challenge.contract.identity,
        "contract_version": CONTRACT_VERSION,
    }
    return RunRecord(
        run=run_name(identity),
        team=request.team,
        title=request.title,
        source="predictions",
        challenge=request.challenge,
        limits=request.challenge.limits,
        dataset=dataset_facts(request.dataset, fingerprint),
        versions=versions(),
        argv=request.argv,
        created_at=datetime.now(UTC),
    )
