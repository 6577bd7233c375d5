"""Find any changed byte in a run: chain and signatures of its records, its files, its scores made again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from evaluator import __version__ as evaluator_version
from harness.data.dataset import Dataset, file_sha256
from harness.errors import HarnessError
from harness.results.folder import RunResults, chain_start, read_run, seal_faults
from harness.results.journal import CASES_FILE, RUN_FILE, SCORES_FILE, chain_faults
from harness.results.key import Key, known_key
from harness.results.records import ExecutionRecord, ScoreRecord
from harness.results.seal import SEAL_FILE
from harness.scoring.human import score_human
from harness.scoring.score import cases_by_id, metrics_of, score_execution


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was written."""

    where: str
    what: str


@dataclass
class Verification:
    """What was found in a run's folder.

    Attributes:
        problems: What is not as it was written; none if every byte is.
        remarks: What was checked, and what could not be, in words.
    """

    problems: list[Problem] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def verify_run(folder: Path, *, dataset: Dataset | None = None, fingerprint: str = "") -> Verification:
    """Check a run's folder, `results/CHALLENGE/TEAM/RUN`.

    Args:
        folder: The run's folder.
        dataset: With it, the newest score of each case and profile is computed again and compared.
        fingerprint: The data set's, if it is known already.
    """
    found = Verification()
    if not (folder / RUN_FILE).is_file():
        found.problems.append(Problem(str(folder / RUN_FILE), "it is missing"))
        return found
    key = known_key()
    found.problems += _journals(folder, key)
    chained = not found.problems
    try:
        results = read_run(folder)
    except HarnessError as error:
        found.problems.append(Problem(error.where or str(folder), error.what))
        return found
    found.problems += _place(results)
    found.problems += _seal(results, key)
    found.problems += _files(results)
    found.problems += _rows(results)
    found.remarks.append(_signature(results, key))
    if dataset is not None and chained:
        _score_again(results, dataset, fingerprint, found)
    return found


def _journals(folder: Path, key: Key | None) -> Iterator[Problem]:
    start = chain_start(folder)
    for name in (CASES_FILE, SCORES_FILE):
        for number, fault in chain_faults(folder / name, start=start, key=key):
            yield Problem(f"{folder / name}:{number}", fault)
        if (folder / name).is_file() and (folder / name).read_bytes()[-1:] not in (b"", b"\n"):
            yield Problem(str(folder / name), "its last line is torn; the next run drops it")


def _place(results: RunResults) -> Iterator[Problem]:
    """Compare the folder's names with what the record says of itself."""
    folder, record = results.folder.resolve(), results.record
    for what, named, said in (
        ("run", folder.name, record.run),
        ("team", folder.parent.name, record.team),
        ("challenge", folder.parent.parent.name, record.challenge.name),
    ):
        if named != said:
            yield Problem(str(results.folder), f"the folder is of {what} {named}, its record of {said}")


def _seal(results: RunResults, key: Key | None) -> Iterator[Problem]:
    if not results.record.key and not (results.folder / SEAL_FILE).exists():
        return
    for fault in seal_faults(results.folder, key):
        yield Problem(str(results.folder / SEAL_FILE), fault)
    lines: tuple[ExecutionRecord | ScoreRecord, ...] = (*results.executions, *results.scores)
    for line in lines:
        if line.hmac.partition(":")[0] != results.record.key:
            yield Problem(str(results.folder), f"a line of case {line.case} is not signed by the run's key")


def _signature(results: RunResults, key: Key | None) -> str:
    if not results.record.key:
        return "not signed: whoever can write to it may have made it"
    if key is None or key.id != results.record.key:
        return f"signed with key {results.record.key}, which this host does not have: not checked"
    return "signed with this host's key"


def _files(results: RunResults) -> Iterator[Problem]:
    for execution in results.final_executions().values():
        kept = results.folder / "cases" / execution.case
        hashes = [("file", kept / name, sha256) for name, sha256 in execution.files.items()]
        if execution.prediction is not None:
            path = results.folder / execution.prediction.path
            hashes.append(("prediction", path, execution.prediction.sha256))
        for what, path, sha256 in hashes:
            if not path.resolve().is_relative_to(results.folder.resolve()):
                yield Problem(str(path), f"the {what} lies outside of the run's folder")
            elif not path.is_file():
                yield Problem(str(path), f"the {what} is missing")
            elif file_sha256(path) != sha256:
                yield Problem(str(path), f"the {what} was changed")


def _rows(results: RunResults) -> Iterator[Problem]:
    """Compare the two journals with the case list and with each other."""
    listed = set(results.record.dataset.cases)
    final = results.final_executions()
    for case in sorted((final.keys() | {score.case for score in results.scores}) - listed):
        yield Problem(str(results.folder), f"case {case} is not one of the run's")
    if results.record.source == "raters":
        return
    for score in _newest(results):
        execution = final.get(score.case)
        harvested = execution.prediction.sha256 if execution and execution.prediction else None
        if score.prediction_sha256 != harvested:
            yield Problem(
                str(results.folder / SCORES_FILE), f"case {score.case} is scored on another prediction"
            )


def _score_again(results: RunResults, dataset: Dataset, fingerprint: str, found: Verification) -> None:
    """Compute the newest scores again, and say how many were and why others were not."""
    if (fingerprint or dataset.fingerprint()) != results.record.dataset.fingerprint:
        found.remarks.append("not scored again, because it was made over other data")
        return
    if results.record.source == "imported":
        found.remarks.append("not scored again: its numbers are imported from others' tables")
        return
    left_out: Counter[str] = Counter()
    equal = 0
    for score in _newest(results):
        if score.evaluator_version != evaluator_version:
            left_out[f"evaluator {score.evaluator_version} scored it and this is {evaluator_version}"] += 1
        elif problem := _scored_otherwise(results, score, dataset):
            found.problems.append(problem)
        else:
            equal += 1
    found.remarks.append(f"{equal} score(s) made again, equal")
    found.remarks += [f"{count} score(s) not made again, because {why}" for why, count in left_out.items()]


def _scored_otherwise(results: RunResults, score: ScoreRecord, dataset: Dataset) -> Problem | None:
    case = cases_by_id(dataset).get(score.case)
    execution = results.final_executions().get(score.case)
    of_people = results.record.source == "raters"
    if case is None or (execution is None and not of_people):
        return Problem(str(dataset.folder), f"case {score.case} cannot be scored again: it is not there")
    challenge, metrics = results.record.challenge, metrics_of(score)
    try:
        if execution is None:
            again = score_human(case, challenge, profile=score.profile, metrics=metrics)
        else:
            again = score_execution(
                execution,
                case,
                challenge=challenge,
                folder=results.folder,
                profile=score.profile,
                metrics=metrics,
            )
    except HarnessError as error:
        return Problem(error.where, error.what)
    if again.reference_sha256 != score.reference_sha256:
        return Problem(str(case.label), f"the reference of case {score.case} was changed")
    if _computed(again) != _computed(score):
        where = str(results.folder / SCORES_FILE)
        return Problem(where, f"case {score.case} scores otherwise when scored again")
    return None


def _newest(results: RunResults) -> list[ScoreRecord]:
    return list({(score.case, score.profile): score for score in results.scores}.values())


def _computed(score: ScoreRecord) -> tuple[object, ...]:
    return score.usable, score.scores, score.case_scores, score.raters
