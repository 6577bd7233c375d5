"""The scores of one case as records that survive a trip through JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """How well one structure of one case was found.

    Attributes:
        label: The voxel value.
        organ: The structure in words.
        column: The stem of the official FLARE column.
        dsc: Dice coefficient, 0 to 1; NaN only if the profile says so for a label that both volumes lack.
        nsd: Normalised surface Dice at the label's tolerance, 0 to 1; NaN as for `dsc`.
        reference_ml: Volume of the label in the whole reference.
        prediction_ml: Volume of the label in the whole prediction.
        true_positive_voxels: Voxels that carry the label in both, in the region that the profile scores.
        false_positive_voxels: Voxels that carry it in the prediction only, in that region.
        false_negative_voxels: Voxels that carry it in the reference only, in that region.
        hd95_mm: 95th percentile of the surface distances, the worse direction; infinite where only one
            volume has the label, `None` where not asked for or both lack it.
        assd_mm: Mean of the two directions' average surface distance; else as `hd95_mm`.
        note: Which rule set the scores, where it was not the plain formula.
    """

    label: int
    organ: str
    column: str
    dsc: float
    nsd: float
    reference_ml: float
    prediction_ml: float
    true_positive_voxels: int
    false_positive_voxels: int
    false_negative_voxels: int
    hd95_mm: float | None = None
    assd_mm: float | None = None
    note: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON knows: NaN becomes null, infinity the text "inf"."""
        return {name: _to_json(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelScore:
        """Return the record that `to_dict` was made from; unknown fields are left out."""
        kept = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        for name in ("dsc", "nsd"):
            kept[name] = math.nan if kept[name] is None else float(kept[name])
        for name in ("hd95_mm", "assd_mm"):
            if kept.get(name) is not None:
                kept[name] = float(kept[name])
        return cls(**kept)


@dataclass(frozen=True, kw_only=True)
class CaseScore:
    """The scores of one case.

    Attributes:
        case: Its id.
        challenge: Name of the label table.
        profile: Name of the scoring profile.
        labels: One record per scored label, in table order.
        notes: What a reader of the scores should know: oddities of the files, labels not annotated.
        spacing_mm: The reference's voxel size along x, y, z as stored; zeros if no reference was read.
        distance_spacing_mm: The voxel size that distances were compared with the tolerances in; the exact
            profile undoes float32's rounding there.
        scored: False where there was no usable prediction and every score is the stated zero.
        evaluator_version: What computed it.
    """

    case: str
    challenge: str
    profile: str
    labels: tuple[LabelScore, ...]
    notes: tuple[str, ...] = ()
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    distance_spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scored: bool = True
    evaluator_version: str = ""

    @property
    def mean_dsc(self) -> float:
        """Mean Dice over the labels that have one; NaN if none has."""
        return _mean([score.dsc for score in self.labels])

    @property
    def mean_nsd(self) -> float:
        """Mean NSD over the labels that have one; NaN if none has."""
        return _mean([score.nsd for score in self.labels])

    def __getitem__(self, label: int) -> LabelScore:
        """Return the score of the label with this voxel value.

        Raises:
            KeyError: It was not scored.
        """
        for score in self.labels:
            if score.label == label:
                return score
        raise KeyError(label)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as values that JSON knows."""
        return {
            "case": self.case,
            "challenge": self.challenge,
            "profile": self.profile,
            "evaluator_version": self.evaluator_version,
            "scored": self.scored,
            "spacing_mm": list(self.spacing_mm),
            "distance_spacing_mm": list(self.distance_spacing_mm),
            "notes": list(self.notes),
            "labels": [score.to_dict() for score in self.labels],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CaseScore:
        """Return the record that `to_dict` was made from."""
        return cls(
            case=values["case"],
            challenge=values.get("challenge", ""),
            profile=values["profile"],
            labels=tuple(LabelScore.from_dict(score) for score in values["labels"]),
            notes=tuple(values.get("notes", ())),
            spacing_mm=_triple(values.get("spacing_mm")),
            distance_spacing_mm=_triple(values.get("distance_spacing_mm")),
            scored=bool(values.get("scored", True)),
            evaluator_version=values.get("evaluator_version", ""),
        )


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _triple(values: Sequence[float] | None) -> tuple[float, float, float]:
    x, y, z = values or (0.0, 0.0, 0.0)
    return float(x), float(y), float(z)


def _mean(values: list[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else math.nan
