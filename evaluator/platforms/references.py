"""Label volumes in folders that a platform unpacks, and the score of one case whatever its files are."""

from __future__ import annotations

from pathlib import Path

from evaluator.case import missing_prediction, score_case
from evaluator.case_input import case_name
from evaluator.errors import EvaluatorError, MissingFileError, RequestError
from evaluator.header import SUFFIXES
from evaluator.platforms.means import CaseResult
from evaluator.platforms.rules import PlatformRules
from evaluator.scoring import Scoring


def references_of(folder: Path) -> dict[str, Path]:
    """Return the reference of each case, sorted by its id.

    Raises:
        MissingFileError: There is none.
        RequestError: Two files are one case by their names.
    """
    place = volumes_folder(folder)
    references: dict[str, Path] = {}
    for path in sorted(place.iterdir()) if place.is_dir() else ():
        if _is_volume(path):
            case = case_name(path)
            if case in references:
                raise RequestError(
                    f"case {case} has two references: {references[case].name}, {path.name}",
                    where=place,
                    mend="Keep one of them",
                )
            references[case] = path
    if not references:
        raise MissingFileError(
            "there is no ground truth", where=folder, mend="Upload one label volume per case, named after it"
        )
    return references


def volumes_folder(folder: Path) -> Path:
    """Return the folder itself, or the only one below it where archives put their files."""
    while folder.is_dir():
        entries = [path for path in sorted(folder.iterdir()) if not path.name.startswith((".", "__MACOSX"))]
        folders = [path for path in entries if path.is_dir()]
        if any(map(_is_volume, entries)) or len(folders) != 1:
            return folder
        folder = folders[0]
    return folder


def result_of(
    case: str,
    reference: Path,
    prediction: Path | None,
    rules: PlatformRules,
    scoring: Scoring,
    *,
    fault: str,
    job: str = "",
    runtime_s: float | None = None,
) -> CaseResult:
    """Score a case; whatever is wrong with its prediction fails it, and no other.

    Args:
        case: Its id.
        reference: The annotation.
        prediction: None if there is none.
        rules: Which labels a case annotates.
        scoring: How it is scored.
        fault: Why there is no prediction, where there is none.
        job: The platform's id of what made it.
        runtime_s: How long that ran.
    """
    values = rules.annotated.get(case)
    notes = (fault,)
    if prediction is not None:
        try:
            score = score_case(reference, prediction, scoring, annotated=values, case=case)
            return CaseResult(score=score, notes=score.notes, runtime_s=runtime_s, job=job)
        except EvaluatorError as error:
            notes = (f"the prediction is unusable: {error.one_line()}",)
        except Exception as error:  # a stranger's file must cost its own case and no other, whatever it does
            notes = (f"the prediction is unusable: {type(error).__name__}: {error}",)
    try:
        score = score_case(reference, None, scoring, annotated=values, case=case)
    except EvaluatorError as error:
        notes = (f"the reference is unusable, so the case does not count: {error.one_line()}",)
        score = missing_prediction(case, scoring, notes=notes, unusable="reference")
    return CaseResult(score=score, notes=notes, runtime_s=runtime_s, job=job)


def _is_volume(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".")
