"""Score a folder of predictions against a folder of references, one case after the other as they finish."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from evaluator.buffers import BufferPool
from evaluator.case import CaseInput, case_name, missing_prediction, score_input, scoring_of
from evaluator.errors import EvaluatorError, GeometryError, MissingFileError, RequestError
from evaluator.header import SUFFIXES
from evaluator.labels import LabelTable
from evaluator.profiles import Profile
from evaluator.scores import CaseScore
from evaluator.scoring import Scoring
from evaluator.threads import usable_cores

_NAMED_AT_MOST = 3


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        case: Its id, the file name without the ending.
        reference: The annotation.
        prediction: `None` if there is none.
        rivals: Further files of the folders that by their names are the same reference or prediction.
    """

    case: str
    reference: Path
    prediction: Path | None
    rivals: tuple[Path, ...] = ()

    def check(self) -> None:
        """Refuse a case of which it is not clear which files are meant.

        Raises:
            RequestError: Another file is the same reference or prediction by its name.
        """
        for side, path in (("reference", self.reference), ("prediction", self.prediction)):
            names = [rival.name for rival in self.rivals if path is not None and rival.parent == path.parent]
            if path is not None and names:
                raise RequestError(
                    f"case {self.case} has more than one {side}: {', '.join((path.name, *names))}",
                    where=path,
                    mend="Keep one of them",
                )


@dataclass(frozen=True)
class Matches:
    """Which prediction belongs to which reference.

    Attributes:
        cases: Every reference's, sorted by id.
        unused: Predictions that have no reference.
    """

    cases: tuple[CaseFiles, ...]
    unused: tuple[Path, ...] = ()


def score_folder(
    references: Path | str,
    predictions: Path | str,
    scoring: Scoring | None = None,
    *,
    labels: LabelTable | None = None,
    profile: str | Profile = "exact",
    metrics: Sequence[str] | None = None,
    annotated: Mapping[str, Collection[int]] | None = None,
    cases: Collection[str] | None = None,
    jobs: int | None = None,
    unusable: Literal["row", "raise"] = "row",
) -> Iterator[CaseScore]:
    """Score every reference of a folder; yields the cases in order of their names, as they finish.

    See `match_folders` for what belongs together and `score_matches` for the rest, which it calls.

    Args:
        references: A folder of label volumes, or one file.
        predictions: A folder of predictions with the same case names, or one file if `references` is one.
        scoring: Labels, rules, metrics and limits.
        labels: In place of `scoring`, for Dice and NSD of these labels.
        profile: With `labels`, the rules.
        metrics: With `labels`, what to compute; Dice and NSD by default.
        annotated: For partially annotated cases: case id to the label values that it annotates. A case
            that is not in it counts as fully annotated.
        cases: Score only these case ids; each must have a reference.
        jobs: How many cases to work on at a time; by default one per usable core.
        unusable: What a file that cannot be read or lies on another grid leads to: a `row` with the reason in
            its notes, or the error itself.

    Raises:
        EvaluatorError: The folders cannot be matched; with `unusable="raise"`, a case cannot be scored.
    """
    matches = match_folders(references, predictions, cases=cases)
    scoring = scoring_of(scoring, labels, profile, metrics)
    yield from score_matches(matches.cases, scoring, annotated=annotated, jobs=jobs, unusable=unusable)


def match_folders(
    references: Path | str, predictions: Path | str, *, cases: Collection[str] | None = None
) -> Matches:
    """Say which prediction belongs to which reference, by their names.

    The references give the list of cases, so that a missing prediction keeps its row.

    Args:
        references: A folder of label volumes, or one file.
        predictions: A folder of predictions with the same case names, or one file if `references` is one.
        cases: Only these case ids; each must have a reference.

    Raises:
        MissingFileError: There are no references, or there are predictions and none has the name of a
            reference.
    """
    references, predictions = Path(references), Path(predictions)
    annotations = _volumes(references)
    if not annotations:
        raise MissingFileError(
            "no label volumes", where=references, mend=f"Known names end in {', '.join(SUFFIXES)}"
        )
    if references.is_file() and not predictions.is_dir():
        prediction = predictions if predictions.exists() else None
        return Matches((CaseFiles(case_name(references), references, prediction),))
    if not predictions.is_dir():
        raise MissingFileError("the predictions are no folder", where=predictions)
    if cases is not None and (unknown := sorted(set(cases) - set(annotations))):
        raise MissingFileError(f"no reference for case {unknown[0]}", where=references)
    predicted = _volumes(predictions)
    matched = tuple(
        _case_files(name, paths, predicted.get(name, []))
        for name, paths in sorted(annotations.items())
        if cases is None or name in cases
    )
    unused = tuple(
        path for name, paths in sorted(predicted.items()) if name not in annotations for path in paths
    )
    if unused and all(case.prediction is None for case in matched):
        raise MissingFileError(
            f"no prediction has the name of a reference: there are {named(unused)}",
            where=predictions,
            mend=f"Give each the name of its reference, such as {matched[0].reference.name}",
        )
    return Matches(matched, unused)


def score_matches(
    cases: Collection[CaseFiles],
    scoring: Scoring,
    *,
    annotated: Mapping[str, Collection[int]] | None = None,
    jobs: int | None = None,
    unusable: Literal["row", "raise"] = "row",
) -> Iterator[CaseScore]:
    """Score cases; yields them in order, as they finish, and holds no more than `jobs` of them in memory.

    Args:
        cases: Their files.
        scoring: Labels, rules, metrics and limits.
        annotated: See `score_folder`.
        jobs: How many cases to work on at a time; by default one per usable core.
        unusable: See `score_folder`.

    Raises:
        EvaluatorError: With `unusable="raise"`, a case cannot be scored.
    """
    buffers = BufferPool()
    jobs = min(jobs or usable_cores(), len(cases)) or 1
    scoring = replace(scoring, threads=scoring.threads if jobs == 1 else 1)

    def score(case: CaseFiles) -> CaseScore:
        values = None if annotated is None else annotated.get(case.case)
        given = CaseInput(
            case=case.case, reference=case.reference, prediction=case.prediction, annotated=values
        )
        try:
            case.check()
            return score_input(given, scoring, buffers)
        except EvaluatorError as error:
            if unusable == "raise":
                raise
            return _row(case, scoring.annotated(values), error)

    with ThreadPoolExecutor(jobs) as pool:
        running: deque[Future[CaseScore]] = deque()
        try:
            for case in cases:
                running.append(pool.submit(score, case))
                if len(running) > jobs:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def named(paths: Collection[Path]) -> str:
    """Return the names of the first files, and how many more there are."""
    names = [path.name for path in paths]
    more = len(names) - _NAMED_AT_MOST
    return ", ".join(names[:_NAMED_AT_MOST]) + (f" and {more} more" if more > 0 else "")


def _row(case: CaseFiles, scoring: Scoring, error: EvaluatorError) -> CaseScore:
    """Return the row of a case that could not be scored; whose fault it is decides about its scores."""
    if case.prediction is not None and (
        error.where == str(case.prediction) or isinstance(error, GeometryError)
    ):
        note = f"the prediction is unusable and scores as a failure: {error.one_line()}"
        return missing_prediction(case.case, scoring, notes=(note,), unusable="prediction")
    note = f"the reference is unusable, so nothing is scored: {error.one_line()}"
    return missing_prediction(case.case, scoring, notes=(note,), unusable="reference")


def _case_files(name: str, references: list[Path], predictions: list[Path]) -> CaseFiles:
    rivals = (*references[1:], *predictions[1:])
    return CaseFiles(name, references[0], predictions[0] if predictions else None, rivals)


def _volumes(place: Path) -> dict[str, list[Path]]:
    """Return the label volumes of a folder, or the one file, by case id; two of one case are told later."""
    if place.is_file():
        return {case_name(place): [place]}
    if not place.is_dir():
        raise MissingFileError("there is no such file or folder", where=place)
    volumes: dict[str, list[Path]] = {}
    for path in sorted(place.iterdir()):
        if path.name.lower().endswith(SUFFIXES) and not path.name.startswith("."):
            volumes.setdefault(case_name(path), []).append(path)
    return volumes
