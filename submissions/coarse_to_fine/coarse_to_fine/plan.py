"""The rules of the method as data, weights/plans.json; beside it lies a model folder for each network."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from segkit.errors import PlanError

PLAN_NAME = "plans.json"
COARSE, ORGANS = "coarse", "organs"


@dataclass(frozen=True)
class CoarseRules:
    """How the coarse model is run, and what its map must go through before its box is taken.

    Attributes:
        head: The decoder level whose head gives the logits; 0 is the finest, 2 in a network that halves its
            grid at every stage has voxels four times as wide.
        step: Largest distance of neighbouring tiles as a fraction of the tile.
        anchor: The label whose largest part the others are measured from, the liver.
        reach_voxels: Parts of the foreground whose centroid lies further from the anchor's along z, in voxels
            of the coarse grid, are dropped.
        dropped: Labels that do not count for the box.
        margin_mm: The box is widened by this on every side.
    """

    head: int = 2
    step: float = 1.0
    anchor: int = 1
    reach_voxels: float = 170 / 3
    dropped: tuple[int, ...] = (7, 8, 12)
    margin_mm: float = 20.0


@dataclass(frozen=True)
class MethodPlan:
    """What is done with the networks' outputs.

    Attributes:
        coarse: The rules of the coarse stage.
        tumours: Folders of the tumour models; a voxel that any of them calls tumour is tumour.
        single: Labels of which only the largest connected part stays, in the coarse map and in the organs'.
        largest_plane: Where a plane of the resampled volume has more voxels along an axis, the volume is
            shrunk by one factor on all axes until it has this many.
        lowest_probability: Averaged probabilities below this count as 0.
        source: Where the rules come from, for the reader.
    """

    coarse: CoarseRules = CoarseRules()
    tumours: tuple[str, ...] = ("tumour1", "tumour2")
    single: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 9, 10, 11, 13)
    largest_plane: int = 360
    lowest_probability: float = 0.10
    source: dict[str, str] = field(default_factory=dict)

    @property
    def models(self) -> tuple[str, ...]:
        """The model folders in the order in which they run."""
        return (COARSE, *self.tumours, ORGANS)

    def to_json(self) -> str:
        """The text of plans.json."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str) -> MethodPlan:
        """The plan of a JSON text.

        Args:
            text: JSON.
            where: Named in the error.

        Raises:
            PlanError: The text is no plan of this method.
        """
        try:
            content = json.loads(text)
            return cls(coarse=CoarseRules(**_fields(content.pop("coarse"))), **_fields(content))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise PlanError(
                f"{where} holds no rules of coarse_to_fine ({error!r}); see its README."
            ) from error


def load_plan(folder: Path) -> MethodPlan:
    """The rules of a folder of models.

    Raises:
        PlanError: There are none, or they cannot be read.
    """
    path = folder / PLAN_NAME
    if not path.is_file():
        raise PlanError(f"{path} is missing; it holds the rules, and lies beside the folders of the models.")
    return MethodPlan.from_json(path.read_text(encoding="utf-8"), where=str(path))


def _fields(content: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}
