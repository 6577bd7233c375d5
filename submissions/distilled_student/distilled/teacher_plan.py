"""A teacher's folder: its plan as data, and float16 weights. No pickle is opened to read one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from segkit.convert import without_aliases
from segkit.errors import PlanError
from segkit.files import write_whole
from segkit.model import PLAN_NAME, WEIGHTS_NAME, in_float16, write_weights
from segkit.plan import Intensity

from distilled.attention_unet import AttentionUNet2d


@dataclass(frozen=True)
class TeacherPlan:
    """Everything about a teacher but its weights.

    Attributes:
        spacing_mm: The network's grid in a slice (y, x); slices stay as they are.
        patch: Size of a window in pixels of that grid (y, x).
        intensity: The normalisation.
        labels: Names of the two outputs; the first is the background.
        network: Arguments of `AttentionUNet2d`.
        source: Where the weights come from, for people.
    """

    spacing_mm: tuple[float, float]
    patch: tuple[int, int]
    intensity: Intensity
    labels: tuple[str, str]
    network: dict[str, Any]
    source: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.spacing_mm) != 2 or len(self.patch) != 2 or len(self.labels) != 2:
            raise PlanError(
                f"a teacher is two-dimensional and has two outputs, not spacing {self.spacing_mm}, patch "
                f"{self.patch} and labels {self.labels}."
            )
        if not min(self.spacing_mm) > 0 or not min(self.patch) > 0:
            raise PlanError("spacing and patch must be positive.")

    def to_json(self) -> str:
        """The plan as JSON text."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = PLAN_NAME) -> TeacherPlan:
        """Read what `to_json` wrote.

        Raises:
            PlanError: The text is no such plan.
        """
        try:
            content = json.loads(text)
            for key in ("spacing_mm", "patch", "labels"):
                content[key] = tuple(content[key])
            return cls(intensity=Intensity(**content.pop("intensity")), **content)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise PlanError(
                f"{where} is no plan of a teacher ({error!r}); save_teacher writes one from a training."
            ) from error


def network_of(plan: TeacherPlan) -> AttentionUNet2d:
    """The network of a plan, with random weights.

    Raises:
        PlanError: The plan describes none.
    """
    try:
        return AttentionUNet2d(1, len(plan.labels), **plan.network)
    except (AssertionError, TypeError, ValueError, RuntimeError) as error:
        raise PlanError(f"the plan describes no network of a teacher: {error}") from error


def load_network(folder: Path) -> tuple[TeacherPlan, AttentionUNet2d]:
    """The plan and the network of a teacher's folder, the network in float32.

    Raises:
        PlanError: A file is missing or damaged, or the weights do not fit the plan.
    """
    for name in (PLAN_NAME, WEIGHTS_NAME):
        if not (folder / name).is_file():
            raise PlanError(f"{folder / name} is missing; a teacher is {PLAN_NAME} and {WEIGHTS_NAME}.")
    plan = TeacherPlan.from_json((folder / PLAN_NAME).read_text(), where=str(folder / PLAN_NAME))
    network = network_of(plan)
    try:
        load_weights(network, load_file(folder / WEIGHTS_NAME))
    except (RuntimeError, SafetensorError) as error:
        raise PlanError(
            f"{folder / WEIGHTS_NAME} does not hold the weights of {folder / PLAN_NAME}: {error}"
        ) from error
    return plan, network


def write_teacher(folder: Path, plan: TeacherPlan, state: dict[str, torch.Tensor]) -> None:
    """Write a teacher's folder; each file appears whole or not at all.

    Args:
        folder: Made where missing.
        plan: The plan.
        state: State dict of its network.

    Raises:
        PlanError: A weight is not finite in float16, or the plan describes no network.
        RuntimeError: The weights are those of another network.
    """
    halves = in_float16(state)
    load_weights(network_of(plan), halves)
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / WEIGHTS_NAME, halves)
    write_whole(folder / PLAN_NAME, plan.to_json())


def load_weights(network: AttentionUNet2d, state: dict[str, torch.Tensor]) -> None:
    """Copy weights, each under one name only, into a network; float16 values are widened.

    Raises:
        RuntimeError: They are those of another network.
    """
    missing, unknown = network.load_state_dict(state, strict=False)
    missing = list(without_aliases(dict.fromkeys(missing)))
    if missing or unknown:
        raise RuntimeError(f"missing {missing[:3]}, unknown {unknown[:3]}")
