"""What a case is scored from: its volumes, read, and put on one grid."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.buffers import Lease
from evaluator.errors import (
    CorruptVolumeError,
    EvaluatorError,
    GeometryError,
    RequestError,
    VolumeTooLargeError,
)
from evaluator.geometry import compare_geometry
from evaluator.header import SUFFIXES, VolumeHeader
from evaluator.misfit import times
from evaluator.profiles import Profile
from evaluator.scoring import Scoring
from evaluator.threads import usable_cores
from evaluator.volume import Casting, LabelVolume, read_label_volume

Source = Path | str | LabelVolume
"""A label volume as a file or in memory."""


@dataclass(frozen=True, kw_only=True)
class CaseInput:
    """What a case is scored from.

    Attributes:
        case: Its id.
        reference: The annotation, or one for each rater.
        prediction: `None` if there is none.
        annotated: Label values that the reference annotates; `None` for all.
        image: The CT, whose header may say more of where a prediction may lie.
    """

    case: str
    reference: Source | Mapping[str, Source]
    prediction: Source | None
    annotated: Collection[int] | None = None
    image: Path | str | None = None


def case_name(volume: Path | str | LabelVolume) -> str:
    """Return the case id that a volume's file name gives, or an empty text."""
    path = volume.path if isinstance(volume, LabelVolume) else Path(volume)
    if path is None:
        return ""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def read_volumes(
    given: CaseInput, scoring: Scoring, lease: Lease
) -> tuple[dict[str, LabelVolume], LabelVolume | None]:
    """Return the references by rater, of one without a name, and the prediction.

    Two threads read two files, unless only one may work.

    Raises:
        EvaluatorError: A file cannot be read, or raters annotate different grids.
    """
    rules = scoring.rules
    if given.prediction is None:
        return read_references(given, scoring, lease), None
    if (scoring.threads or usable_cores()) == 1:
        references = read_references(given, scoring, lease)
        return references, _read(given.prediction, rules.prediction_casting, scoring.max_bytes, lease)
    with ThreadPoolExecutor(1) as pool:
        prediction = pool.submit(_read, given.prediction, rules.prediction_casting, scoring.max_bytes, lease)
        return read_references(given, scoring, lease), prediction.result()


def read_references(given: CaseInput, scoring: Scoring, lease: Lease) -> dict[str, LabelVolume]:
    """Return the references by rater, those of several on the grid of the first; one alone has no name.

    Raises:
        EvaluatorError: One cannot be read, or lies elsewhere.
    """
    named = given.reference if isinstance(given.reference, Mapping) else {"": given.reference}
    casting = scoring.rules.reference_casting
    read = {name: _read(volume, casting, scoring.max_bytes, lease) for name, volume in named.items()}
    first = next(iter(read.values()))
    return {name: _on_first_grid(name, volume, first, scoring.rules) for name, volume in read.items()}


def _read(source: Source, casting: Casting, max_bytes: int, lease: Lease) -> LabelVolume:
    if isinstance(source, LabelVolume):
        return source
    path = source
    try:
        return read_label_volume(path, max_bytes=max_bytes, casting=casting, allocate=lease.allocate)
    except EvaluatorError:
        raise
    except (ValueError, ArithmeticError, LookupError, TypeError) as error:
        # What strange bytes make a parser stumble over must cost their own case, and no other.
        raise CorruptVolumeError(f"the file cannot be understood: {error}", where=path) from error
    except MemoryError as error:
        raise VolumeTooLargeError("there is not enough memory to read the file", where=path) from error


def on_reference_grid(
    reference: LabelVolume, prediction: LabelVolume, rules: Profile, image: VolumeHeader | None
) -> tuple[LabelVolume, list[str]]:
    """Return the prediction on the reference's grid, and what a reader of its scores should know of that.

    Args:
        reference: The reference.
        prediction: The prediction.
        rules: Say whether more than the shape is compared.
        image: The image's header, if it is known: a prediction may lie wherever it says.

    Raises:
        GeometryError: It lies elsewhere.
    """
    if not rules.checks_geometry:
        if prediction.shape != reference.shape:
            raise GeometryError(
                f"shape {times(prediction.shape)} against {times(reference.shape)}",
                where=prediction.path or "prediction",
                mend="A prediction must have its image's shape",
            )
        return prediction, []
    diagnosis = compare_geometry(reference, prediction, image=image)
    if diagnosis.kind == "different":
        raise GeometryError(
            f"the prediction is not on the reference's grid: {diagnosis.text}",
            where=prediction.path or "prediction",
            mend=diagnosis.mend,
        )
    return replace(prediction, array=diagnosis.reorient(prediction.array)), list(diagnosis.notes)


def _on_first_grid(name: str, volume: LabelVolume, first: LabelVolume, rules: Profile) -> LabelVolume:
    """Return a rater's volume on the grid of the first one's; the first stays as it is.

    Raises:
        RequestError: It lies elsewhere.
    """
    if volume is first:
        return volume
    try:
        return on_reference_grid(first, volume, rules, None)[0]
    except GeometryError as error:
        raise RequestError(
            f"the reference of {name} is not on the first one's grid: {error.what}",
            where=error.where,
            mend="Raters annotate one image, on its grid",
        ) from error
