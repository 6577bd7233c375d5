"""Score one case: two label volumes in, one record out."""

from __future__ import annotations

import math
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluator._version import __version__
from evaluator.buffers import BufferPool, Lease
from evaluator.errors import GeometryError
from evaluator.geometry import compare_geometry
from evaluator.header import SUFFIXES, VolumeHeader
from evaluator.labels import Label, LabelTable
from evaluator.measure import LabelMeasures, count_voxels, measure_labels, usable_cores
from evaluator.overlap import dice
from evaluator.profiles import Profile, profile_named
from evaluator.scores import CaseScore, LabelScore
from evaluator.values import notes_on_labels
from evaluator.volume import DEFAULT_MAX_BYTES, Casting, LabelVolume, read_header, read_label_volume

_BUFFERS = BufferPool()

MISSING_PREDICTION = "no prediction: every score is 0"


def score_case(
    reference: Path | str | LabelVolume,
    prediction: Path | str | LabelVolume | None,
    *,
    labels: LabelTable,
    profile: str | Profile = "exact",
    annotated: Collection[int] | None = None,
    case: str | None = None,
    image: Path | str | None = None,
    surface_distances: bool = False,
    threads: int | None = None,
    max_bytes: int = DEFAULT_MAX_BYTES,
    buffers: BufferPool = _BUFFERS,
) -> CaseScore:
    """Score one prediction against its reference.

    Args:
        reference: The annotation, as a file or in memory.
        prediction: The prediction; `None` if there is none, which scores 0 on every label, whether the
            reference holds it or not.
        labels: What to score; a subset of a table scores only that.
        profile: `exact`, `flare`, or rules of your own.
        annotated: Label values that the reference annotates; only these are scored, because elsewhere its
            background says nothing. `None` for all.
        case: The case's id; by default from the file name.
        image: The case's CT, of which only the header is read: a prediction may lie wherever that header
            says, as well as wherever the reference's does.
        surface_distances: Compute HD95 and ASSD as well, which takes longer.
        threads: How many threads may work; by default one per usable core.
        max_bytes: Limit on the memory for reading each volume.
        buffers: Where the memory for volumes comes from; by default what earlier calls have left.

    Raises:
        EvaluatorError: A file cannot be read, the grids differ, or the request makes no sense.
    """
    rules = profile_named(profile, labels.name) if isinstance(profile, str) else profile
    scored = labels if annotated is None else labels.subset(set(annotated) & set(labels.values))
    notes = []
    if len(scored) < len(labels):
        left_out = [str(label.value) for label in labels if label.value not in scored.values]
        notes.append(f"not annotated, so not scored: labels {', '.join(left_out)}")
    case = case or case_name(reference)
    with buffers.lend() as lease:
        truth, found = _read_both(reference, prediction, rules, max_bytes, threads, lease)
        placed = None if image is None else read_header(image)
        return _score(case, truth, found, placed, labels, scored, rules, notes, surface_distances, threads)


def release_memory() -> None:
    """Give back the memory that `score_case` keeps for its next call."""
    _BUFFERS.clear()


def _score(
    case: str,
    truth: LabelVolume,
    found: LabelVolume | None,
    image: VolumeHeader | None,
    labels: LabelTable,
    scored: LabelTable,
    rules: Profile,
    notes: list[str],
    surface_distances: bool,
    threads: int | None,
) -> CaseScore:
    notes += [f"reference: {note}" for note in truth.notes]
    if found is None:
        return missing_prediction(case, scored, rules, notes=(MISSING_PREDICTION, *notes), reference=truth)
    notes += [f"prediction: {note}" for note in found.notes]
    found, geometry_notes = _on_reference_grid(truth, found, rules, image)
    notes += geometry_notes
    for side, volume, casting in (
        ("reference", truth, rules.reference_casting),
        ("prediction", found, rules.prediction_casting),
    ):
        if casting == "exact" and (count := _voxels_without_label(volume)):
            notes.append(f"{side}: {count} voxels hold values below 0 or above 255, taken as background")
    one, two = _bytes(truth, rules.reference_casting), _bytes(found, rules.prediction_casting)

    spacing_mm = (truth.zooms or truth.spacing_mm) if rules.takes_raw_zooms else truth.spacing_mm
    distance_spacing_mm = rules.compared_spacing(spacing_mm)
    measures = measure_labels(
        one,
        two,
        tuple(scored),
        area_spacing_mm=spacing_mm,
        distance_spacing_mm=distance_spacing_mm,
        crop=[rules.crops_slices and label.cropped_by_flare for label in scored],
        surface_distances=surface_distances,
        threads=threads,
    )
    notes += [f"prediction: {note}" for note in _notes_on_values(one, two, labels, measures)]
    too_high = rules.zero_above is not None and bool(two.max() > rules.zero_above)
    if too_high:
        notes.append(f"the prediction holds a value above {rules.zero_above}: every score is 0")
    voxel_ml = math.prod(truth.spacing_mm) / 1000.0
    return CaseScore(
        case=case,
        challenge=scored.name,
        profile=rules.name,
        labels=tuple(
            _label_score(label, measure, rules, voxel_ml, too_high)
            for label, measure in zip(scored, measures, strict=True)
        ),
        notes=tuple(notes),
        spacing_mm=truth.spacing_mm,
        distance_spacing_mm=distance_spacing_mm,
        evaluator_version=__version__,
    )


def missing_prediction(
    case: str,
    labels: LabelTable,
    profile: Profile,
    *,
    notes: tuple[str, ...] = (MISSING_PREDICTION,),
    reference: LabelVolume | None = None,
) -> CaseScore:
    """Return the row of a case without a usable prediction: 0 on every label.

    Args:
        case: The case's id.
        labels: The labels to give rows to.
        profile: The rules, for their name.
        notes: Why there is no prediction.
        reference: Gives the reference volumes, if it was read.
    """
    counts = np.zeros(256, np.int64)
    if reference is not None:
        counts = count_voxels(_bytes(reference, profile.reference_casting))
    spacing = (0.0, 0.0, 0.0) if reference is None else reference.spacing_mm
    voxel_ml = math.prod(spacing) / 1000.0
    return CaseScore(
        case=case,
        challenge=labels.name,
        profile=profile.name,
        labels=tuple(
            LabelScore(
                label=label.value,
                organ=label.name,
                column=label.column,
                dsc=0.0,
                nsd=0.0,
                reference_ml=int(counts[label.value]) * voxel_ml,
                prediction_ml=0.0,
                true_positive_voxels=0,
                false_positive_voxels=0,
                false_negative_voxels=int(counts[label.value]),
                note="no prediction",
            )
            for label in labels
        ),
        notes=notes,
        spacing_mm=spacing,
        scored=False,
        evaluator_version=__version__,
    )


def case_name(volume: Path | str | LabelVolume) -> str:
    """Return the case id that a volume's file name gives, or an empty text."""
    path = volume.path if isinstance(volume, LabelVolume) else Path(volume)
    if path is None:
        return ""
    for suffix in SUFFIXES:
        if path.name.lower().endswith(suffix):
            return path.name[: -len(suffix)]
    return path.name


def _read_both(
    reference: Path | str | LabelVolume,
    prediction: Path | str | LabelVolume | None,
    rules: Profile,
    max_bytes: int,
    threads: int | None,
    lease: Lease,
) -> tuple[LabelVolume, LabelVolume | None]:
    """Return both volumes; two threads read two files, unless only one may work."""

    def read(volume: Path | str | LabelVolume, casting: Casting) -> LabelVolume:
        if isinstance(volume, LabelVolume):
            return volume
        return read_label_volume(volume, max_bytes=max_bytes, casting=casting, allocate=lease.allocate)

    if prediction is None:
        return read(reference, rules.reference_casting), None
    if (threads or usable_cores()) == 1:
        return read(reference, rules.reference_casting), read(prediction, rules.prediction_casting)
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(read, prediction, rules.prediction_casting)
        return read(reference, rules.reference_casting), other.result()


def _on_reference_grid(
    reference: LabelVolume, prediction: LabelVolume, rules: Profile, image: VolumeHeader | None
) -> tuple[LabelVolume, list[str]]:
    if not rules.checks_geometry:
        if prediction.shape != reference.shape:
            raise GeometryError(
                f"shape {'x'.join(map(str, prediction.shape))} against {'x'.join(map(str, reference.shape))}",
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


def _notes_on_values(
    reference: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
    labels: LabelTable,
    measures: list[LabelMeasures],
) -> tuple[str, ...]:
    """Return notes on values that the table does not know; counting them all is for when there are any."""
    if np.count_nonzero(prediction) == sum(measure.prediction_voxels for measure in measures):
        return ()
    counts = count_voxels(prediction)
    if not set(np.flatnonzero(counts)) - {0, *labels.values}:
        return ()
    return notes_on_labels(counts, labels.values, count_voxels(reference))


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


def _label_score(
    label: Label, measure: LabelMeasures, rules: Profile, voxel_ml: float, too_high: bool
) -> LabelScore:
    dsc, nsd, note = _dsc_and_nsd(measure, rules)
    if too_high:
        dsc, nsd, note = 0.0, 0.0, f"the prediction holds a value above {rules.zero_above}"
    return LabelScore(
        label=label.value,
        organ=label.name,
        column=label.column,
        dsc=rules.rounded(dsc),
        nsd=rules.rounded(nsd),
        reference_ml=measure.reference_voxels * voxel_ml,
        prediction_ml=measure.prediction_voxels * voxel_ml,
        true_positive_voxels=measure.overlap_voxels,
        false_positive_voxels=measure.scored_prediction_voxels - measure.overlap_voxels,
        false_negative_voxels=measure.scored_reference_voxels - measure.overlap_voxels,
        hd95_mm=measure.hd95_mm,
        assd_mm=measure.assd_mm,
        note=note,
    )


def _dsc_and_nsd(measure: LabelMeasures, rules: Profile) -> tuple[float, float, str]:
    """Apply the rules of empty labels, crops and thresholds, in the order of the official scripts."""
    if measure.reference_voxels == 0 and measure.prediction_voxels == 0:
        return rules.both_empty, rules.both_empty, "in neither volume"
    if measure.reference_voxels == 0:
        return rules.one_empty, rules.one_empty, "not in the reference"
    if measure.prediction_voxels == 0:
        return rules.one_empty, rules.one_empty, "not in the prediction"
    if measure.scored_reference_voxels == 0:
        score = rules.cropped_to_nothing
        return (
            score,
            score,
            f"a single reference slice, cropped away: the official scorer crashes, here {score:g}",
        )
    dsc = dice(measure.overlap_voxels, measure.scored_reference_voxels, measure.scored_prediction_voxels)
    if dsc < rules.least_dsc_for_nsd:
        return dsc, 0.0, f"NSD is 0 because DSC is below {rules.least_dsc_for_nsd:g}"
    return dsc, measure.nsd, ""
