"""Model folders: plans.json, and the weights of each phase, float16 or compact. No pickle is ever opened."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from segkit.errors import PlanError
from segkit.files import write_whole
from segkit.model import in_float16, read_weights, write_weights
from torch import nn

from cascade.hybrid import HybridNet
from cascade.location import LocationNet
from cascade.plan import PLAN_NAME, CascadePlan, load_plan


def build_network(plan: CascadePlan, phase: str) -> nn.Module:
    """The network of a phase, "location" or "organs", with random weights."""
    if phase == "location":
        return LocationNet()
    return HybridNet(outputs=len(plan.labels), depths=plan.organs.depths)


def tile_of(plan: CascadePlan, phase: str) -> tuple[int, int, int]:
    """The input size (z, y, x) of a phase."""
    return plan.location.size if phase == "location" else plan.organs.patch


def load_network(folder: Path, plan: CascadePlan, phase: str) -> nn.Module:
    """The trained network of a phase, in float32 and ready for inference.

    Raises:
        PlanError: The file is missing or damaged, or its weights do not fit the plan.
    """
    path = folder / f"{phase}.safetensors"
    if not path.is_file():
        raise PlanError(f"{path} is missing; train.py --phase writes it.")
    network = build_network(plan, phase)
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise PlanError(f"{path} does not hold the weights of phase {phase}: {error}") from error
    return network.eval()


def save_network(folder: Path, phase: str, network: nn.Module) -> None:
    """Write the weights of a phase in float16; the file appears whole or not at all.

    Raises:
        PlanError: A weight is not finite in float16.
    """
    state = in_float16(network.state_dict())
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / f"{phase}.safetensors", state)


def save_phase(folder: Path, phase: str, plan: CascadePlan, network: nn.Module, source: str) -> None:
    """Write what one phase needs: its weights, and its part of plans.json.

    The other phase may have been trained at another time for other grids, and keeps its own part.

    Args:
        folder: The model folder; made where missing.
        phase: "location" or "organs".
        plan: What the phase was trained for.
        network: Its network.
        source: Where the weights come from, for the reader.

    Raises:
        PlanError: A weight is not finite in float16, or the folder's plans.json cannot be read.
    """
    whole = plan
    if (folder / PLAN_NAME).exists():
        there = load_plan(folder)
        changes = {phase: getattr(plan, phase)}
        if phase == "organs":
            changes["labels"] = plan.labels
        whole = dataclasses.replace(there, **changes)
    save_network(folder, phase, network)
    whole = dataclasses.replace(whole, source={**whole.source, phase: source})
    save_plan(folder, whole)


def save_plan(folder: Path, plan: CascadePlan) -> None:
    """Write plans.json; it appears whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / PLAN_NAME, plan.to_json())
