"""Score one case: two label volumes in, one record out."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from evaluator._version import __version__
from evaluator.buffers import BufferPool
from evaluator.case_input import CaseInput, case_name, on_reference_grid, read_volumes
from evaluator.distances import GridSpacing
from evaluator.errors import RequestError
from evaluator.label_files import label_table_from_dict
from evaluator.labels import LabelTable
from evaluator.metrics import DEFAULT_METRICS
from evaluator.pair import CasePair, count_voxels
from evaluator.profiles import Profile
from evaluator.rater_files import CONSENSUS
from evaluator.rules import failed_scores, score_label, unknown_scores
from evaluator.scores import CaseScore, LabelScore
from evaluator.scoring import Scoring
from evaluator.sources import as_reference, as_source
from evaluator.values import notes_on_labels
from evaluator.volume import Casting, LabelVolume, read_header

_BUFFERS = BufferPool()

_MUCH_SURFACE = 2.0
"""A prediction whose surface is so many times the reference's is told of."""

MISSING_PREDICTION = "no prediction: every label scores as a failure"

Labels = LabelTable | Mapping[Any, Any]
"""Labels as a table, or as a plain dict: `{1: "liver"}`, `{"liver": 1}`, `{"kidney with mass": [1, 2]}`."""


def score_case(
    reference: Any,
    prediction: Any,
    scoring: Scoring | None = None,
    *,
    labels: Labels | None = None,
    profile: str | Profile = "exact",
    metrics: Sequence[str] | None = None,
    spacing_mm: Sequence[float] | None = None,
    annotated: Collection[int] | None = None,
    case: str | None = None,
    image: Path | str | None = None,
) -> CaseScore:
    """Score one prediction against its reference.

    Args:
        reference: The annotation: a path, a `LabelVolume`, an image of SimpleITK or nibabel, or an array or
            torch tensor on axes x, y, z. Several of them, as a dict by the raters' names or a list, are
            scored against one by one (`CaseScore.raters`), and the score is that against their consensus.
        prediction: The prediction, in any of these forms; `None` if there is none, which scores as a failure
            on every label, whether the reference holds it or not.
        scoring: Labels, rules, metrics and limits.
        labels: In place of `scoring`: a table, or a dict such as `{1: "liver"}` (NSD at 2 mm then).
        profile: With `labels`, the rules.
        metrics: With `labels`, what to compute; Dice and NSD by default.
        spacing_mm: Voxel size along x, y, z of arrays and tensors, which have none.
        annotated: Label values that the reference annotates; only these are scored, because elsewhere its
            background says nothing. `None` for all.
        case: The case's id; by default from the file name.
        image: The case's CT, of which only the header is read: a prediction may lie wherever that header
            says, as well as wherever the reference's does.

    Raises:
        EvaluatorError: A file cannot be read, the grids differ, or the request makes no sense.
    """
    given = CaseInput(
        case=case or (case_name(reference) if isinstance(reference, (str, Path, LabelVolume)) else ""),
        reference=as_reference(reference, spacing_mm=spacing_mm),
        prediction=None
        if prediction is None
        else as_source(prediction, spacing_mm=spacing_mm, what="prediction"),
        annotated=annotated,
        image=image,
    )
    return score_input(given, scoring_of(scoring, labels, profile, metrics), _BUFFERS)


def score_input(given: CaseInput, scoring: Scoring, buffers: BufferPool) -> CaseScore:
    """Score one case with memory from `buffers`; else see `score_case`."""
    with buffers.lend() as lease:
        raters, prediction = read_volumes(given, scoring, lease)
        scored = scoring.annotated(given.annotated)
        notes = _notes_on_annotation(scoring.labels, scored.labels)
        for name, volume in raters.items():
            whose = f"reference of {name}" if name else "reference"
            notes += [f"{whose}: {note}" for note in volume.notes]
        if prediction is None:
            notes.insert(0, MISSING_PREDICTION)
            missing = missing_prediction(
                given.case, scored, notes=tuple(notes), references=tuple(raters.values())
            )
            return _of_raters(missing, [replace(missing, rater=name) for name in raters if name])
        notes += [f"prediction: {note}" for note in prediction.notes]
        image = None if given.image is None else read_header(given.image)
        first = next(iter(raters.values()))
        prediction, geometry_notes = on_reference_grid(first, prediction, scoring.rules, image)
        notes += geometry_notes
        score = partial(score_volumes, given, prediction=prediction, scoring=scoring)
        against_each = [
            replace(score([volume], notes=[]), rater=name) for name, volume in raters.items() if name
        ]
        return _of_raters(score(list(raters.values()), notes=notes), against_each)


def _of_raters(score: CaseScore, against_each: Sequence[CaseScore]) -> CaseScore:
    return replace(score, rater=CONSENSUS, raters=tuple(against_each)) if against_each else score


def _notes_on_annotation(labels: LabelTable, scored: LabelTable) -> list[str]:
    left_out = [str(label.value) for label in labels if label.value not in scored.values]
    return [f"not annotated, so not scored: labels {', '.join(left_out)}"] if left_out else []


def scoring_of(
    scoring: Scoring | None,
    labels: Labels | None,
    profile: str | Profile,
    metrics: Sequence[str] | None = None,
) -> Scoring:
    """Return the scoring that a caller named, in whole or by its labels, profile and metrics.

    Raises:
        RequestError: Both or neither are given.
    """
    if (scoring is None) == (labels is None):
        raise RequestError("what is to be scored is not said", mend="Give a Scoring, or labels")
    if scoring is not None or labels is None:
        return scoring  # type: ignore[return-value]
    table = labels if isinstance(labels, LabelTable) else label_table_from_dict(labels)
    return Scoring(table, profile=profile, metrics=DEFAULT_METRICS if metrics is None else tuple(metrics))


def release_memory() -> None:
    """Give back the memory that `score_case` keeps for its next call."""
    _BUFFERS.clear()


def score_volumes(
    given: CaseInput,
    references: Sequence[LabelVolume],
    *,
    prediction: LabelVolume,
    scoring: Scoring,
    notes: Sequence[str] = (),
) -> CaseScore:
    """Score volumes on one grid; of several references, against their consensus."""
    reference, notes = references[0], list(notes)
    known, scoring = scoring.labels.voxel_values, scoring.annotated(given.annotated)
    rules = scoring.rules
    for side, volume, casting in (
        *(("reference", volume, rules.reference_casting) for volume in references),
        ("prediction", prediction, rules.prediction_casting),
    ):
        if casting == "exact" and (count := _voxels_without_label(volume)):
            notes.append(f"{side}: {count} voxels hold values below 0 or above 255, taken as background")
    annotated = [_bytes(volume, rules.reference_casting) for volume in references]
    predicted = _bytes(prediction, rules.prediction_casting)
    spacing = _spacing_of(reference, rules)
    pair = CasePair(annotated, predicted, scoring, spacing)
    labels = tuple(pair.for_each_label(lambda label: score_label(label, scoring)))
    scores = {metric.facts.key: metric.of(pair) for metric in scoring.case_metrics}
    found = pair.predicted_voxels
    notes += _notes_on_surfaces(pair)
    notes += [f"prediction: {note}" for note in _notes_on_values(annotated, predicted, known, found)]
    if rules.zero_above is not None and predicted.max() > rules.zero_above:
        notes.append(f"the prediction holds a value above {rules.zero_above}: every score is 0")
        note = f"the prediction holds a value above {rules.zero_above}"
        labels = tuple(
            replace(label, scores=failed_scores(scoring.label_metrics), note=note) for label in labels
        )
        scores = failed_scores(scoring.case_metrics)
    return CaseScore(
        case=given.case,
        challenge=scoring.labels.name,
        profile=rules.name,
        labels=labels,
        scores=scores,
        notes=tuple(notes),
        spacing_mm=reference.spacing_mm,
        distance_spacing_mm=spacing.distances_mm,
        evaluator_version=__version__,
        voxels=int(annotated[0].size),
    )


def pair_volumes(one: LabelVolume, other: LabelVolume, scoring: Scoring) -> CasePair:
    """Return two annotations on one grid side by side."""
    rules = scoring.rules
    first, second = (_bytes(volume, rules.reference_casting) for volume in (one, other))
    return CasePair(first, second, scoring, _spacing_of(one, rules))


def _spacing_of(reference: LabelVolume, rules: Profile) -> GridSpacing:
    used_mm = (reference.zooms or reference.spacing_mm) if rules.takes_raw_zooms else reference.spacing_mm
    return GridSpacing(reference.spacing_mm, used_mm, rules.compared_spacing(used_mm))


def _notes_on_surfaces(pair: CasePair) -> list[str]:
    """Return a note for each label whose predicted surface is many times the reference's: foam raises NSD."""
    notes = []
    for label in pair.labels:
        times = label.surface_ratio
        if times is not None and times >= _MUCH_SURFACE:
            notes.append(
                f"{label.label.name}: the prediction's surface is {times:.1f} times the reference's; foam"
                " and specks raise NSD, look at the picture"
            )
    return notes


def missing_prediction(
    case: str,
    scoring: Scoring,
    *,
    notes: tuple[str, ...] = (MISSING_PREDICTION,),
    references: Sequence[LabelVolume] = (),
    unusable: Literal["", "prediction", "reference"] = "",
) -> CaseScore:
    """Return the row of a case that cannot be scored.

    Args:
        case: The case's id.
        scoring: The labels to give rows to, and the metrics.
        notes: Why there is nothing to score.
        references: Give the reference volumes, if they were read; of several, the consensus'.
        unusable: Which side was there and of no use. Without a usable prediction every score is that of a
            failure; without a usable reference nothing is known, and every score is NaN.
    """
    held = _held_voxels(references, scoring)
    spacing = references[0].spacing_mm if references else (0.0, 0.0, 0.0)
    voxel_ml = math.prod(spacing) / 1000.0
    values = unknown_scores if unusable == "reference" else failed_scores
    return CaseScore(
        case=case,
        challenge=scoring.labels.name,
        profile=scoring.rules.name,
        labels=tuple(
            LabelScore(
                label=label.value,
                organ=label.name,
                column=label.column,
                scores=values(scoring.label_metrics),
                reference_ml=voxels * voxel_ml,
                prediction_ml=0.0,
                true_positive_voxels=0,
                false_positive_voxels=0,
                false_negative_voxels=voxels,
                note="no reference" if unusable == "reference" else "no prediction",
            )
            for label, voxels in zip(scoring.labels, held, strict=True)
        ),
        scores=values(scoring.case_metrics),
        notes=notes,
        spacing_mm=spacing,
        scored=False,
        unusable=unusable,
        evaluator_version=__version__,
        voxels=int(references[0].array.size) if references else 0,
    )


def _held_voxels(references: Sequence[LabelVolume], scoring: Scoring) -> list[int]:
    """Return how many voxels of each label the reference holds, or the consensus of several."""
    if not references:
        return [0] * len(scoring.labels)
    spacing = GridSpacing(*3 * (references[0].spacing_mm,))
    arrays = [_bytes(volume, scoring.rules.reference_casting) for volume in references]
    pair = CasePair(arrays, np.zeros_like(arrays[0]), scoring, spacing)
    return [label.counts.reference_voxels for label in pair.labels]


def _notes_on_values(
    references: Sequence[NDArray[np.uint8]],
    prediction: NDArray[np.uint8],
    known: Collection[int],
    scored_voxels: int,
) -> tuple[str, ...]:
    """Return notes on values that the table does not know; counting them all is for when there are any."""
    if np.count_nonzero(prediction) == scored_voxels:
        return ()
    counts = count_voxels(prediction)
    if not set(np.flatnonzero(counts)) - {0, *known}:
        return ()
    return notes_on_labels(counts, known, np.sum([count_voxels(one) for one in references], axis=0))


def _bytes(volume: LabelVolume, casting: Casting) -> NDArray[np.uint8]:
    """Return the labels as uint8; values beyond wrap with `truncate`, else become background."""
    array: NDArray[Any] = volume.array
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.view(np.uint8)
    if casting != "truncate" and _voxels_without_label(volume):
        array = np.where((array < 0) | (array > 255), 0, array)
    return array.astype(np.uint8, order="F")


def _voxels_without_label(volume: LabelVolume) -> int:
    """Count the voxels whose value no label table can hold."""
    if volume.array.dtype.itemsize == 1 and volume.array.dtype != np.int8:
        return 0
    return int(np.count_nonzero((volume.array < 0) | (volume.array > 255)))
