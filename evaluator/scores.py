"""The scores of one case as records that survive a trip through JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from evaluator.errors import RequestError

_FORMER_KEYS = {"dsc": "dsc", "nsd": "nsd", "hd95_mm": "hd95", "assd_mm": "masd"}
"""Fields of label records of former versions, and the metrics that they held."""


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """How well one structure of one case was found.

    Attributes:
        label: The voxel value.
        organ: The structure in words.
        column: Its stem in tables whose columns have names of their own.
        scores: By metric key; NaN where the rules leave it out.
        reference_ml: Volume of the label in the whole reference.
        prediction_ml: Volume of the label in the whole prediction.
        true_positive_voxels: Voxels that carry the label in both, in the region that the profile scores.
        false_positive_voxels: Voxels that carry it in the prediction only, in that region.
        false_negative_voxels: Voxels that carry it in the reference only, in that region.
        note: Which rule set the scores, where it was not the plain formula.
        replaced: Keys of the metrics whose value a rule for missing labels gave.
    """

    label: int
    organ: str
    column: str
    scores: Mapping[str, float] = field(hash=False)
    reference_ml: float
    prediction_ml: float
    true_positive_voxels: int
    false_positive_voxels: int
    false_negative_voxels: int
    note: str = ""
    replaced: tuple[str, ...] = ()

    @property
    def dsc(self) -> float:
        """Dice coefficient, 0 to 1; NaN if it was not asked for, or the rules leave it out."""
        return self.scores.get("dsc", math.nan)

    @property
    def nsd(self) -> float:
        """Normalised surface Dice at the label's tolerance, 0 to 1; NaN as for `dsc`."""
        return self.scores.get("nsd", math.nan)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON knows: NaN becomes null, infinity the text "inf"."""
        values = {name: _to_json(value) for name, value in asdict(self).items()}
        return values | {"scores": _scores_to_json(self.scores), "replaced": list(self.replaced)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelScore:
        """Return the record that `to_dict` was made from, also in the former form; unknown keys go."""
        kept = {item.name: values[item.name] for item in fields(cls) if item.name in values}
        if "scores" not in values:
            kept["scores"] = {
                key: values[name]
                for name, key in _FORMER_KEYS.items()
                if name in values and (values[name] is not None or name == key)
            }
        kept["scores"] = _scores_from_json(kept["scores"])
        kept["replaced"] = tuple(kept.get("replaced", ()))
        for name in ("reference_ml", "prediction_ml"):
            kept[name] = _from_json(kept[name])
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
        scores: By key, the metrics that are a number per case.
        scored: False where something was missing or unusable, and every score is what a failed case gets.
        unusable: What was: a `reference` (all scores are NaN) or a `prediction`, there but of no use. Empty
            for a scored case and for one without a prediction.
        evaluator_version: What computed it.
        rater: Whose annotation it was compared with, where a case has several; `consensus` for that of all.
        raters: Of a score against the consensus, those against each rater.
        voxels: How many the volume has; 0 where no volume was compared.
    """

    case: str
    challenge: str
    profile: str
    labels: tuple[LabelScore, ...]
    notes: tuple[str, ...] = ()
    spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    distance_spacing_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scores: Mapping[str, float] = field(default_factory=dict, hash=False)
    scored: bool = True
    unusable: Literal["", "prediction", "reference"] = ""
    evaluator_version: str = ""
    rater: str = ""
    raters: tuple[CaseScore, ...] = ()
    voxels: int = 0

    def mean(self, key: str) -> float:
        """Return the mean of a metric over the labels that have it, or the case's own; NaN if none has."""
        if key in self.scores:
            return self.scores[key]
        known = [
            score.scores[key] for score in self.labels if not math.isnan(score.scores.get(key, math.nan))
        ]
        return sum(known) / len(known) if known else math.nan

    @property
    def mean_dsc(self) -> float:
        """Mean Dice over the labels that have one; NaN if none has."""
        return self.mean("dsc")

    @property
    def mean_nsd(self) -> float:
        """Mean NSD over the labels that have one; NaN if none has."""
        return self.mean("nsd")

    def __getitem__(self, label: int) -> LabelScore:
        """Return the score of the label with this voxel value.

        Raises:
            KeyError: It was not scored.
        """
        for score in self.labels:
            if score.label == label:
                return score
        raise KeyError(label)

    def __iter__(self) -> Iterator[LabelScore]:
        """Yield the records of the labels, in table order."""
        return iter(self.labels)

    def __len__(self) -> int:
        return len(self.labels)

    def records(self) -> Iterator[dict[str, Any]]:
        """Yield one row per label and metric: case, label, organ, metric, value.

        Of a case with several raters, each row says its rater as well: those of the consensus come first.
        """
        for score in (self, *self.raters):
            whose = {"rater": score.rater} if score.rater else {}
            for label in score.labels:
                for key, value in label.scores.items():
                    yield {
                        "case": score.case,
                        "label": label.label,
                        "organ": label.organ,
                        **whose,
                        "metric": key,
                        "value": value,
                    }

    def to_frame(self) -> Any:
        """Return the rows of `records` as a pandas DataFrame; pandas must be installed."""
        return frame_of([self])

    def to_dict(self) -> dict[str, Any]:
        """Return the record as values that JSON knows."""
        whose = {"rater": self.rater} if self.rater else {}
        each = {"raters": [score.to_dict() for score in self.raters]} if self.raters else {}
        return {
            "case": self.case,
            "challenge": self.challenge,
            "profile": self.profile,
            "evaluator_version": self.evaluator_version,
            "scored": self.scored,
            "voxels": self.voxels,
            "unusable": self.unusable,
            "scores": _scores_to_json(self.scores),
            "spacing_mm": list(self.spacing_mm),
            "distance_spacing_mm": list(self.distance_spacing_mm),
            "notes": list(self.notes),
            "labels": [score.to_dict() for score in self.labels],
            **whose,
            **each,
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
            scores=_scores_from_json(values.get("scores", {})),
            scored=bool(values.get("scored", True)),
            unusable=values.get("unusable", ""),
            evaluator_version=values.get("evaluator_version", ""),
            rater=values.get("rater", ""),
            raters=tuple(cls.from_dict(score) for score in values.get("raters", ())),
            voxels=int(values.get("voxels", 0)),
        )


def frame_of(scores: Iterable[CaseScore]) -> Any:
    """Return the rows of several cases as a pandas DataFrame: case, label, organ, metric, value.

    Raises:
        RequestError: pandas is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise RequestError("a DataFrame needs pandas", mend="Install it: pip install pandas") from None
    rows = [row for score in scores for row in score.records()]
    whose = ["rater"] if any("rater" in row for row in rows) else []
    return pandas.DataFrame(rows, columns=["case", "label", "organ", *whose, "metric", "value"])


def _to_json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _from_json(value: Any) -> float:
    return math.nan if value is None else float(value)


def _scores_to_json(scores: Mapping[str, float]) -> dict[str, Any]:
    return {key: _to_json(value) for key, value in scores.items()}


def _scores_from_json(values: Mapping[str, Any]) -> dict[str, float]:
    return {key: _from_json(value) for key, value in values.items()}


def _triple(values: Sequence[float] | None) -> tuple[float, float, float]:
    x, y, z = values or (0.0, 0.0, 0.0)
    return float(x), float(y), float(z)
