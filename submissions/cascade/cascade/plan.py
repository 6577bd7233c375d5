"""Everything about a trained cascade but its weights, as data: weights/plans.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segkit.errors import PlanError
from segkit.plan import ABDOMINAL_ORGANS, Intensity

PLAN_NAME = "plans.json"
PHASES = ("location", "organs")

LABELS = ("background", *ABDOMINAL_ORGANS)


@dataclass(frozen=True)
class LocationPlan:
    """Phase 1.

    Attributes:
        size: The whole CT is resampled to this size (z, y, x).
        smallest_part_ml: Connected parts of the region below this volume are dropped.
        window: Fixed Hounsfield window and z-score; the published percentiles of each CT if None.
    """

    size: tuple[int, int, int] = (128, 128, 128)
    smallest_part_ml: float = 5.0
    window: Intensity | None = None


@dataclass(frozen=True)
class OrgansPlan:
    """Phase 2.

    Attributes:
        spacing_mm: The network's grid (z, y, x).
        patch: Size of a tile (z, y, x).
        step: Largest distance of neighbouring tiles as a fraction of the tile.
        margin_mm: The box around the region of phase 1 is widened by this on every side.
        depths: Encoder blocks per stage.
        window: Fixed Hounsfield window and z-score; the published percentiles of each CT if None.
    """

    spacing_mm: tuple[float, float, float] = (2.0, 1.5, 1.5)
    patch: tuple[int, int, int] = (96, 96, 96)
    step: float = 0.95
    margin_mm: float = 0.0
    depths: tuple[int, int, int, int] = (2, 2, 2, 2)
    window: Intensity | None = None


@dataclass(frozen=True)
class CascadePlan:
    """A trained cascade.

    Attributes:
        location: Phase 1.
        organs: Phase 2.
        labels: Names of the labels by value.
        source: Where the weights come from, for the reader.
    """

    location: LocationPlan = LocationPlan()
    organs: OrgansPlan = OrgansPlan()
    labels: tuple[str, ...] = LABELS
    source: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """The text of plans.json."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> CascadePlan:
        """The plan of a JSON text. A recipe of train.py is one, too, with fields of its own beside.

        Args:
            text: JSON.
            where: Named in the error.

        Raises:
            PlanError: The text is no plan.
        """
        try:
            content = json.loads(text)
            return cls(
                location=LocationPlan(**_fields(content["location"])),
                organs=OrgansPlan(**_fields(content["organs"])),
                labels=tuple(content.get("labels", LABELS)),
                source=content.get("source", {}),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(f"{where} is no plan of a cascade: {type(error).__name__}: {error}") from error


def load_plan(folder: Path) -> CascadePlan:
    """The plan of a model folder.

    Raises:
        PlanError: There is none, or it cannot be read.
    """
    path = folder / PLAN_NAME
    if not path.is_file():
        raise PlanError(f"{path} is missing; train.py writes it beside the weights.")
    return CascadePlan.from_json(path.read_text(), where=str(path))


def _fields(content: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in content.items()
    }
    if fields.get("window"):
        fields["window"] = Intensity(**fields["window"])
    return fields
