"""Why a score is what it is: one pair of files under several rules, and where its worst millimetres are.

A difference between two profiles is explained by experiment: of the rules in which they differ, one at a
time is put into the exact profile, and the rules that change a number by themselves are named with what they
change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluator.case import score_case
from evaluator.case_input import case_name
from evaluator.consensus import label_map
from evaluator.distances import Elements, surface_elements
from evaluator.errors import EvaluatorError, RequestError
from evaluator.geometry import compare_geometry
from evaluator.labels import Label, LabelTable
from evaluator.metrics import METRICS
from evaluator.pair import runs_of
from evaluator.profiles import EXACT, Profile, SurfaceRules
from evaluator.runs import LABELS
from evaluator.scores import CaseScore
from evaluator.scoring import Scoring
from evaluator.shipped import profile_named
from evaluator.volume import LabelVolume, read_label_volume

METRIC_KEYS = ("dsc", "nsd", "hd95", "masd")
TOLERANCES_MM = (0.5, 1.0, 2.0, 3.0, 5.0, 7.0, 10.0)
_PLACES = 3
_APART_MM = 15.0
_SHOWN = 1e-6

_WHY = {
    "empty": "what a label is worth that one volume or both lack",
    "takes_raw_zooms": "the header's voxel sizes, whatever their unit",
    "mends_spacing": "the spacing as stored in float32, not 0.8 for 0.800000012",
    "reference_casting": "how the reference's stored numbers become labels",
    "prediction_casting": "how the prediction's stored numbers become labels",
    "cropped_labels": "only the reference's slices of this label are scored, without its last",
    "least_dsc_for_nsd": "NSD is 0 below a limit of DSC",
    "zero_above": "everything is 0 where the prediction holds a larger value",
    "decimals": "rounding",
    "dice_epsilon": "a small number in Dice's denominator",
    "surface.kind": "border voxels are counted instead of surface area",
    "surface.percentile": "one percentile of both directions together",
    "surface.nsd": "the mean of the two surfaces' shares",
    "surface.spacing": "the voxel size that distances are measured with",
    "surface.tolerance": "the script's own tolerance",
    "surface.needs_overlap": "masks that share no voxel count as missed",
}


@dataclass(frozen=True)
class Reason:
    """A rule that changes a number by itself.

    Attributes:
        rule: The profile's field.
        why: What it says, in words.
        metric: Key of the metric.
        exact: The value under the exact profile.
        changed: The value when this rule alone is put into it.
    """

    rule: str
    why: str
    metric: str
    exact: float
    changed: float


@dataclass(frozen=True)
class Place:
    """Where the two surfaces are far apart.

    Attributes:
        voxel: The place along x, y, z, in voxels from 0; the last is the slice.
        position_mm: The same in the file's world (RAS+), if it states one.
        distance_mm: How far the other surface is.
        side: Whose surface is far from the other: `prediction` (too much there) or `reference` (missed).
    """

    voxel: tuple[int, int, int]
    position_mm: tuple[float, float, float] | None
    distance_mm: float
    side: str


@dataclass(frozen=True)
class LabelExplanation:
    """One label of one pair.

    Attributes:
        label: Which.
        scores: By profile, the scores by metric key.
        reasons: By profile, the rules that make the difference from the exact profile.
        nsd_by_tolerance: NSD at several tolerances, exact rules.
        places: The worst places, worst first.
    """

    label: Label
    scores: dict[str, dict[str, float]]
    reasons: dict[str, tuple[Reason, ...]]
    nsd_by_tolerance: dict[float, float]
    places: tuple[Place, ...]


@dataclass(frozen=True, eq=False)
class Explanation:
    """One pair of files.

    Attributes:
        case: Its id.
        reference: The reference, read.
        prediction: The prediction, on the reference's grid.
        labels: The labels that either file holds.
        notes: What the exact profile says of the files.
        refused: By profile, why it scored nothing.
    """

    case: str
    reference: LabelVolume
    prediction: LabelVolume
    labels: tuple[LabelExplanation, ...]
    notes: tuple[str, ...]
    refused: dict[str, str]


def explain(
    reference: Path | str | Mapping[str, Path],
    prediction: Path | str,
    labels: LabelTable | None = None,
    profiles: Sequence[str] = (),
) -> Explanation:
    """Score a pair under several profiles and say why they differ.

    Args:
        reference: A label file; of several, by rater, the consensus of single labels is explained.
        prediction: The same.
        labels: What to score; by default every value that the reference holds, at 2 mm.
        profiles: Their names; by default the exact one, that of the labels' challenge, and those of common
            tools.

    Raises:
        EvaluatorError: A file cannot be read, or the grids differ.
    """
    source = _consensus(reference) if isinstance(reference, Mapping) else Path(reference)
    read = (
        source if isinstance(source, LabelVolume) else read_label_volume(source),
        read_label_volume(prediction),
    )
    table = labels or _labels_in(read[0])
    names = tuple(dict.fromkeys(("exact", *(profiles or usual_profiles(table)))))
    exact = score_case(*read, Scoring(table, metrics=METRIC_KEYS))
    held = [
        label for label, score in zip(table, exact, strict=True) if score.reference_ml or score.prediction_ml
    ]
    table = LabelTable(table.name, tuple(held), table.notes)
    exact = score_case(*read, Scoring(table, metrics=METRIC_KEYS))
    scores, refused = {"exact": exact}, {}
    for name in names[1:]:
        try:
            scores[name] = score_case(source, prediction, Scoring(table, profile=name, metrics=METRIC_KEYS))
        except EvaluatorError as error:
            refused[name] = error.one_line()
    reasons = {
        name: _reasons(source, prediction, table, profile_named(name, table.name), exact)
        for name in scores
        if name != "exact"
    }
    turned = replace(read[1], array=compare_geometry(*read).reorient(read[1].array))
    curves = _curves(read[0], turned, table)
    found = tuple(
        LabelExplanation(
            label,
            {name: dict(score[label.value].scores) for name, score in scores.items()},
            {name: by_label[label.value] for name, by_label in reasons.items()},
            curves[label.value],
            tuple(_worst_places(label, read[0], turned)),
        )
        for label in table
    )
    case, notes = case_name(source) or case_name(prediction), exact.notes
    if isinstance(reference, Mapping):
        notes = (f"reference: the consensus of single labels of {', '.join(reference)}", *notes)
    return Explanation(case, read[0], turned, found, notes, refused)


def _consensus(raters: Mapping[str, Path]) -> LabelVolume:
    """Return what most raters say, on the grid of the first one."""
    volumes = [read_label_volume(path) for path in raters.values()]
    arrays = [compare_geometry(volumes[0], one).reorient(one.array) for one in volumes]
    if any(array.shape != arrays[0].shape for array in arrays):
        raise RequestError("the raters' references are not on one grid", mend="Raters annotate one image")
    return replace(volumes[0], array=label_map([array.astype(np.uint8) for array in arrays]), path=None)


def usual_profiles(labels: LabelTable) -> tuple[str, ...]:
    """Return the profiles that apply to labels: the challenge's own, then those of common tools."""
    from evaluator import flare, official

    own: tuple[str, ...] = ("flare",) if labels.name in flare.TABLES else ()
    own += (labels.name,) if labels.name in official.PROFILES else ()
    return (*own, "nnunet", "monai", "totalsegmentator")


def _labels_in(volume: LabelVolume) -> LabelTable:
    voxels = runs_of(volume.array.astype(np.uint8, copy=False), np.ones(LABELS, np.bool_), 1).voxels
    values = [int(value) for value in np.flatnonzero(voxels) if value]
    return LabelTable("labels", tuple(Label(value, f"label {value}", 2.0) for value in values))


def single_changes(profile: Profile) -> Iterator[tuple[str, Profile]]:
    """Yield each rule in which a profile differs from the exact one, put into that one alone."""
    for item in fields(Profile):
        value = getattr(profile, item.name)
        if item.name == "surface":
            for part in fields(SurfaceRules):
                if getattr(value, part.name) != getattr(EXACT.surface, part.name):
                    surface = replace(EXACT.surface, **{part.name: getattr(value, part.name)})
                    yield f"surface.{part.name}", replace(EXACT, surface=surface)
        elif item.name in _WHY and value != getattr(EXACT, item.name):
            yield item.name, replace(EXACT, **{item.name: value})


def _reasons(
    reference: Path | LabelVolume,
    prediction: Path | str,
    table: LabelTable,
    profile: Profile,
    exact: CaseScore,
) -> dict[int, tuple[Reason, ...]]:
    found: dict[int, list[Reason]] = {label.value: [] for label in table}
    for rule, changed in single_changes(profile):
        try:
            score = score_case(reference, prediction, Scoring(table, profile=changed, metrics=METRIC_KEYS))
        except EvaluatorError:
            continue
        for before, after in zip(exact, score, strict=True):
            for key in METRIC_KEYS:
                one, other = before.scores[key], after.scores[key]
                if _differ(one, other):
                    found[after.label].append(Reason(rule, _WHY[rule], key, one, other))
    return {label: tuple(reasons) for label, reasons in found.items()}


def _differ(one: float, other: float) -> bool:
    """Return whether two scores differ by more than what no table shows."""
    if math.isnan(one) or math.isnan(other) or math.isinf(one) or math.isinf(other):
        return repr(one) != repr(other)
    return abs(one - other) >= _SHOWN


def _curves(
    reference: LabelVolume, prediction: LabelVolume, table: LabelTable
) -> dict[int, dict[float, float]]:
    """Return by label NSD at each tolerance."""
    curves: dict[int, dict[float, float]] = {label.value: {} for label in table}
    for tolerance in TOLERANCES_MM:
        labels = LabelTable(
            table.name, tuple(replace(label, tolerance_mm=tolerance) for label in table), table.notes
        )
        for label in score_case(reference, prediction, Scoring(labels, metrics=("nsd",))):
            curves[label.label][tolerance] = label.nsd
    return curves


def _worst_places(label: Label, reference: LabelVolume, prediction: LabelVolume) -> list[Place]:
    """Return the places where a surface is farthest from the other, some way from each other."""
    wanted = np.zeros(LABELS, np.bool_)
    wanted[list(label.voxel_values)] = True
    runs = [
        runs_of(volume.array.astype(np.uint8, copy=False), wanted, 1).of_all(label.voxel_values)
        for volume in (reference, prediction)
    ]
    if not all(len(one) for one in runs):
        return []
    one, other = (surface_elements(one) for one in runs)
    spacing = np.array(EXACT.compared_spacing(reference.spacing_mm))
    candidates = [
        (float(distance), place, side)
        for side, near, far in (("reference", one, other), ("prediction", other, one))
        for distance, place in _farthest(near, far, spacing)
    ]
    candidates.sort(key=lambda candidate: -candidate[0])
    return [
        Place((int(place[0]), int(place[1]), int(place[2])), _position(reference, place), distance, side)
        for distance, place, side in candidates[:_PLACES]
        if distance > 0
    ]


def _farthest(
    one: Elements, other: Elements, spacing: NDArray[np.float64]
) -> Iterator[tuple[float, NDArray[np.int64]]]:
    """Yield the farthest elements of a surface with their distances, each some way from those before."""
    from scipy.spatial import cKDTree

    distances, _ = cKDTree(other.places * spacing).query(one.places * spacing)
    left = np.ones(len(distances), np.bool_)
    for _ in range(_PLACES):
        if not left.any():
            return
        index = int(np.argmax(np.where(left, distances, -1.0)))
        yield float(distances[index]), one.places[index]
        apart = np.linalg.norm((one.places - one.places[index]) * spacing, axis=1)
        left &= apart > _APART_MM


def _position(volume: LabelVolume, place: NDArray[np.int64]) -> tuple[float, float, float] | None:
    """Return a corner of the voxel grid in the file's world."""
    if volume.affine is None or not volume.has_orientation:
        return None
    x, y, z = (volume.affine[:3, :3] @ (place - 0.5) + volume.affine[:3, 3]).tolist()
    return x, y, z


def text_of(key: str, value: float) -> str:
    """Return a score with its unit, for a reader."""
    if math.isnan(value):
        return "-"
    unit = METRICS[key].facts.unit
    return f"{value:.4g} {unit}" if unit else f"{value:.4f}"
