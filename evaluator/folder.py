"""Score a folder of predictions against a folder of references, one case after the other as they finish."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from evaluator.buffers import BufferPool
from evaluator.case import case_name, missing_prediction, score_case
from evaluator.errors import EvaluatorError, GeometryError, MissingFileError
from evaluator.header import SUFFIXES
from evaluator.labels import LabelTable
from evaluator.measure import usable_cores
from evaluator.profiles import Profile, profile_named
from evaluator.scores import CaseScore
from evaluator.volume import DEFAULT_MAX_BYTES


def score_folder(
    references: Path | str,
    predictions: Path | str,
    *,
    labels: LabelTable,
    profile: str | Profile = "exact",
    annotated: Mapping[str, Collection[int]] | None = None,
    cases: Collection[str] | None = None,
    surface_distances: bool = False,
    jobs: int | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    unusable: Literal["row", "raise"] = "row",
    on_start: Callable[[int], None] | None = None,
) -> Iterator[CaseScore]:
    """Score every reference of a folder; yields the cases in order of their names, as they finish.

    The references give the list of cases, so that a missing prediction keeps its row. At most `jobs` cases
    are in memory at a time.

    Args:
        references: A folder of label volumes, or one file.
        predictions: A folder of predictions with the same case names, or one file if `references` is one.
        labels: What to score.
        profile: `exact`, `flare`, or rules of your own.
        annotated: For partially annotated cases: case id to the label values that it annotates. A case
            that is not in it counts as fully annotated.
        cases: Score only these case ids; each must have a reference.
        surface_distances: Compute HD95 and ASSD as well, which takes longer.
        jobs: How many cases to work on at a time; by default one per usable core.
        max_bytes: Limit on the memory for reading each volume.
        unusable: What a prediction that cannot be read or lies on another grid leads to: a `row` of zeros
            with the reason in its notes, or the error itself. A bad reference always raises.
        on_start: Called once with the number of cases, before the first is scored.

    Raises:
        EvaluatorError: The folders cannot be matched, or a reference cannot be read.
    """
    rules = profile_named(profile, labels.name) if isinstance(profile, str) else profile
    pairs = _pairs(Path(references), Path(predictions), cases)
    if on_start is not None:
        on_start(len(pairs))
    buffers = BufferPool()
    jobs = min(jobs or usable_cores(), len(pairs)) or 1

    def score(name: str, reference: Path, prediction: Path | None) -> CaseScore:
        return _score_or_row(
            name,
            reference,
            prediction,
            labels=labels,
            rules=rules,
            annotated=None if annotated is None else annotated.get(name),
            surface_distances=surface_distances,
            threads=None if jobs == 1 else 1,
            max_bytes=max_bytes,
            raises=unusable == "raise",
            buffers=buffers,
        )

    with ThreadPoolExecutor(jobs) as pool:
        running: deque[Future[CaseScore]] = deque()
        try:
            for pair in pairs:
                running.append(pool.submit(score, *pair))
                if len(running) > jobs:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _pairs(
    references: Path, predictions: Path, cases: Collection[str] | None
) -> list[tuple[str, Path, Path | None]]:
    """Return case id, reference and prediction (or None) of every case, sorted by id."""
    truths = _volumes(references)
    if not truths:
        raise MissingFileError(
            "no label volumes", where=references, mend=f"Known names end in {', '.join(SUFFIXES)}"
        )
    if references.is_file() and not predictions.is_dir():
        name = next(iter(truths))
        return [(name, references, predictions if predictions.exists() else None)]
    if not predictions.is_dir():
        raise MissingFileError("the predictions are no folder", where=predictions)
    if cases is not None:
        unknown = sorted(set(cases) - set(truths))
        if unknown:
            raise MissingFileError(f"no reference for case {unknown[0]}", where=references)
        truths = {name: truths[name] for name in truths if name in cases}
    found = _volumes(predictions)
    return [(name, path, found.get(name)) for name, path in sorted(truths.items())]


def _volumes(place: Path) -> dict[str, Path]:
    """Return the label volumes of a folder, or the one file, by case id."""
    if place.is_file():
        return {case_name(place): place}
    if not place.is_dir():
        raise MissingFileError("there is no such file or folder", where=place)
    volumes: dict[str, Path] = {}
    for path in sorted(place.iterdir()):
        if path.name.lower().endswith(SUFFIXES) and not path.name.startswith("."):
            name = case_name(path)
            if name in volumes:
                raise MissingFileError(
                    f"case {name} has two files, {volumes[name].name} and {path.name}", where=place
                )
            volumes[name] = path
    return volumes


def _score_or_row(
    name: str,
    reference: Path,
    prediction: Path | None,
    *,
    labels: LabelTable,
    rules: Profile,
    annotated: Collection[int] | None,
    surface_distances: bool,
    threads: int | None,
    max_bytes: int,
    raises: bool,
    buffers: BufferPool,
) -> CaseScore:
    try:
        return score_case(
            reference,
            prediction,
            labels=labels,
            profile=rules,
            annotated=annotated,
            case=name,
            surface_distances=surface_distances,
            threads=threads,
            max_bytes=max_bytes,
            buffers=buffers,
        )
    except EvaluatorError as error:
        is_about_prediction = prediction is not None and (
            error.where == str(prediction) or isinstance(error, GeometryError)
        )
        if raises or not is_about_prediction:
            raise
        scored = labels if annotated is None else labels.subset(set(annotated) & set(labels.values))
        return missing_prediction(name, scored, rules, notes=(f"every score is 0: {error.one_line()}",))
