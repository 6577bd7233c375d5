"""Find any changed byte in a run: the chain of its records, its predictions, and its scores made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness.data.dataset import Dataset, file_sha256
from harness.errors import HarnessError
from harness.results.folder import RunResults, chain_start, read_run
from harness.results.journal import CASES_FILE, RUN_FILE, SCORES_FILE, chain_faults
from harness.results.records import ScoreRecord
from harness.scoring.score import cases_by_id, score_execution


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written."""

    where: str
    what: str


def verify_run(folder: Path, *, dataset: Dataset | None = None) -> Iterator[Problem]:
    """Yield what is wrong with a run's folder; nothing if every byte is as it was written.

    Args:
        folder: The run's folder.
        dataset: With it, the newest score of each case and profile is computed again and compared.
    """
    if not (folder / RUN_FILE).is_file():
        yield Problem(str(folder / RUN_FILE), "it is missing")
        return
    start = chain_start(folder)
    broken = False
    for name in (CASES_FILE, SCORES_FILE):
        for number, fault in chain_faults(folder / name, start=start):
            broken = True
            yield Problem(f"{folder / name}:{number}", fault)
        if (folder / name).is_file() and (folder / name).read_bytes()[-1:] not in (b"", b"\n"):
            yield Problem(str(folder / name), "its last line is torn; the next run drops it")
    try:
        results = read_run(folder)
    except HarnessError as error:
        yield Problem(error.where or str(folder), error.what)
        return
    yield from _predictions(results)
    yield from _rows(results)
    if dataset is not None and not broken:
        yield from _scores_again(results, dataset)


def _predictions(results: RunResults) -> Iterator[Problem]:
    for execution in results.final_executions().values():
        if execution.prediction is None:
            continue
        path = results.folder / execution.prediction.path
        if not path.is_file():
            yield Problem(str(path), "the prediction is missing")
        elif file_sha256(path) != execution.prediction.sha256:
            yield Problem(str(path), "the prediction was changed")


def _rows(results: RunResults) -> Iterator[Problem]:
    """Compare the two journals with the case list and with each other."""
    listed = set(results.record.dataset.cases)
    final = results.final_executions()
    for case in sorted((final.keys() | {score.case for score in results.scores}) - listed):
        yield Problem(str(results.folder), f"case {case} is not one of the run's")
    for score in _newest(results):
        execution = final.get(score.case)
        harvested = execution.prediction.sha256 if execution and execution.prediction else None
        if score.prediction_sha256 != harvested:
            yield Problem(
                str(results.folder / SCORES_FILE), f"case {score.case} is scored on another prediction"
            )


def _scores_again(results: RunResults, dataset: Dataset) -> Iterator[Problem]:
    cases = cases_by_id(dataset)
    final = results.final_executions()
    for score in _newest(results):
        case = cases.get(score.case)
        if case is None or score.case not in final:
            yield Problem(str(dataset.folder), f"case {score.case} cannot be scored again: it is not there")
            continue
        try:
            again = score_execution(
                final[score.case],
                case,
                challenge=results.record.challenge,
                folder=results.folder,
                profile=score.profile,
            )
        except HarnessError as error:
            yield Problem(error.where, error.what)
            continue
        if again.reference_sha256 != score.reference_sha256:
            yield Problem(str(case.label), f"the reference of case {score.case} was changed")
        elif again.evaluator_version != score.evaluator_version:
            continue  # another evaluator may score otherwise; `harness score` brings it up to date
        elif again.scores != score.scores:
            yield Problem(
                str(results.folder / SCORES_FILE), f"case {score.case} scores otherwise when scored again"
            )


def _newest(results: RunResults) -> list[ScoreRecord]:
    return list({(score.case, score.profile): score for score in results.scores}.values())
