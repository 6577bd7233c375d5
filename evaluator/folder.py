"""Score a folder of predictions against a folder of references, one case after the other as they finish."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from evaluator.buffers import BufferPool
from evaluator.case import missing_prediction, score_input, scoring_of
from evaluator.case_input import CaseInput, case_name
from evaluator.errors import EvaluatorError, GeometryError, MissingFileError, RequestError
from evaluator.header import SUFFIXES
from evaluator.labels import LabelTable
from evaluator.profiles import Profile
from evaluator.rater_files import CONSENSUS, by_case
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
        raters: The annotations by rater, where the case has a folder of them; `reference` is the first.
        near: What the folder of predictions holds that may be meant as the prediction, where there is none.
    """

    case: str
    reference: Path
    prediction: Path | None
    rivals: tuple[Path, ...] = ()
    raters: Mapping[str, Path] = field(default_factory=dict, hash=False)
    near: tuple[Path, ...] = ()

    def given(self, annotated: Collection[int] | None = None) -> CaseInput:
        """Return what the case is scored from.

        Args:
            annotated: Label values that it annotates; `None` for all.
        """
        return CaseInput(
            case=self.case,
            reference=self.raters or self.reference,
            prediction=self.prediction,
            annotated=annotated,
        )

    def check(self) -> None:
        """Refuse a case of which it is not clear which files are meant.

        Raises:
            RequestError: Another file is the same reference or prediction by its name.
        """
        references = [("reference", path) for path in (*self.raters.values(), self.reference)]
        for side, path in (*references, ("prediction", self.prediction)):
            if path is None:
                continue
            beside = [rival for rival in self.rivals if rival.parent == path.parent]
            names = [rival.name for rival in beside if case_name(rival) == case_name(path)]
            if names:
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
        references: A folder of label volumes, or one file. Folders in it hold the annotations of several
            raters, a folder a case or a folder a rater (rater_files.py).
        predictions: A folder of predictions with the same case names, or one file if `references` is one, or
            is a folder of one case's raters.
        cases: Only these case ids; each must have a reference.

    Raises:
        MissingFileError: There are no references, or there are predictions and none has the name of a
            reference.
    """
    references, predictions = Path(references), Path(predictions)
    if predictions.is_file() and _is_of_raters(references, case_name(predictions)):
        return Matches((_one_case_of_raters(references, predictions),))
    if references.is_file() and not predictions.is_dir():
        prediction = predictions if predictions.exists() else None
        return Matches((CaseFiles(case_name(references), references, prediction),))
    predicted = _volumes(predictions) if predictions.is_dir() else {}
    annotations, raters = _annotations(references, predicted)
    if not predictions.is_dir():
        raise MissingFileError("the predictions are no folder", where=predictions)
    known = sorted({*annotations, *raters})
    if cases is not None and (unknown := sorted(set(cases) - set(known))):
        raise MissingFileError(f"no reference for case {unknown[0]}", where=references)
    matched = tuple(
        _case_files(name, annotations.get(name, []), raters.get(name, {}), predicted.get(name, []))
        for name in known
        if cases is None or name in cases
    )
    unused = tuple(path for name, paths in sorted(predicted.items()) if name not in known for path in paths)
    if unused and all(case.prediction is None for case in matched):
        raise MissingFileError(
            f"no prediction has the name of a reference: there are {named(unused)}",
            where=predictions,
            mend=f"Give each the name of its reference, such as {_expected(matched[0])}",
        )
    if any(case.prediction is None for case in matched):
        there = sorted(path for path in predictions.iterdir() if not path.name.startswith("."))
        taken = {path for name in known for path in predicted.get(name, [])}
        others = [path for path in there if path not in taken]
        matched = tuple(replace(case, near=_near(case, others, predicted)) for case in matched)
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
        try:
            case.check()
            return _with_near(score_input(case.given(values), scoring, buffers), case)
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
        row = missing_prediction(case.case, scoring, notes=(note,), unusable="prediction")
    else:
        note = f"the reference is unusable, so nothing is scored: {error.one_line()}"
        row = missing_prediction(case.case, scoring, notes=(note,), unusable="reference")
    return replace(row, rater=CONSENSUS) if case.raters else row


def _case_files(
    name: str, references: list[Path], raters: Mapping[str, list[Path]], predictions: list[Path]
) -> CaseFiles:
    each = {rater: paths[0] for rater, paths in raters.items()}
    more = [path for paths in raters.values() for path in paths[1:]]
    return CaseFiles(
        name,
        references[0] if references else next(iter(each.values())),
        predictions[0] if predictions else None,
        (*references[1:], *more, *predictions[1:]),
        each,
    )


def _near(case: CaseFiles, others: Sequence[Path], predicted: Collection[str]) -> tuple[Path, ...]:
    """Return what may be meant as a case's prediction: what begins with its id, or all if none is read."""
    if case.prediction is not None:
        return ()
    begins = tuple(
        path
        for path in others
        if path.name.startswith(case.case) and not path.name[len(case.case) :][:1].isalnum()
    )
    return begins if begins or predicted else tuple(others)


def _with_near(row: CaseScore, case: CaseFiles) -> CaseScore:
    """Add a note on what may be meant as the prediction, if there is none."""
    if not case.near:
        return row
    note = (
        f"the folder of predictions holds {named(case.near)}: a prediction of this case is a file"
        f" {case.case} with one of the endings {', '.join(SUFFIXES)}"
    )
    return replace(row, notes=(*row.notes, note))


def _expected(case: CaseFiles) -> str:
    """Return a name that a case's prediction may have."""
    return f"{case.case}.nii.gz" if case.raters else case.reference.name


def _is_of_raters(folder: Path, case: str) -> bool:
    """Return whether a folder may hold one case's annotations; not if one file bears the case's name."""
    volumes = _volumes(folder) if folder.is_dir() else {}
    return bool(volumes) and case not in volumes


def _one_case_of_raters(folder: Path, prediction: Path) -> CaseFiles:
    """Return the case of a folder that holds one annotation a rater."""
    raters = _volumes(folder)
    by_case({case_name(prediction): raters}, (), where=folder)
    return _case_files(case_name(prediction), [], raters, [prediction])


def _annotations(
    references: Path, cases: Collection[str]
) -> tuple[dict[str, list[Path]], dict[str, dict[str, list[Path]]]]:
    """Return the references of cases that have one, and by rater those of cases that have a folder.

    Args:
        references: A folder, or one file.
        cases: Names of cases that are known from the predictions.

    Raises:
        MissingFileError: There are none.
        RequestError: A case has both, or see `by_case`.
    """
    alone = _volumes(references)
    inner = [] if references.is_file() else sorted(path for path in references.iterdir() if path.is_dir())
    folders = {path.name: found for path in inner if path.name[0] != "." and (found := _volumes(path))}
    raters = by_case(folders, cases, where=references)
    if both := sorted(alone.keys() & raters.keys()):
        raise RequestError(
            f"case {both[0]} has a reference, and a folder of them",
            where=alone[both[0]][0],
            mend="Put it into the folder, or take one of the two away",
        )
    if not alone and not raters:
        raise _no_volumes(references)
    return alone, raters


def _no_volumes(where: Path) -> MissingFileError:
    return MissingFileError("no label volumes", where=where, mend=f"Known names end in {', '.join(SUFFIXES)}")


def rater_matches(references: Path, cases: Collection[str] = ()) -> tuple[CaseFiles, ...]:
    """Return the cases of a folder of references, for comparing raters with each other.

    Args:
        references: The folder; or that of a single case, with a file a rater.
        cases: Names of cases that are known from elsewhere.

    Raises:
        MissingFileError: There are no label volumes.
        RequestError: See `by_case`.
    """
    if not references.is_dir():
        raise MissingFileError("the references are no folder", where=references)
    alone, raters = _annotations(references, cases)
    if not raters:
        raters, alone = {references.resolve().name: alone}, {}
    return tuple(
        _case_files(name, alone.get(name, []), raters.get(name, {}), []) for name in sorted({*alone, *raters})
    )


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
