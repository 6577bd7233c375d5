"""Model folders: plans.json and float16 weights in model.safetensors. No pickle is ever opened."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from segkit.errors import PlanError
from segkit.files import whole_file, write_whole
from segkit.network import PlainConvUNet
from segkit.plan import Plan, load_plan

PLAN_NAME = "plans.json"
WEIGHTS_NAME = "model.safetensors"
MADE_FROM_WEIGHTS = ("network.xml", "network.bin", "int8.xml", "int8.bin", "int8.json")


def load_model(folder: Path) -> tuple[Plan, PlainConvUNet]:
    """The plan and the network of a model folder, the network in float32 and ready for inference.

    Raises:
        PlanError: A file is missing or damaged, or the weights do not fit the plan.
    """
    plan = load_plan(folder / PLAN_NAME)
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise PlanError(f"{path} is missing; a model folder holds {PLAN_NAME} and {WEIGHTS_NAME}.")
    network = PlainConvUNet(plan.network)
    try:
        # Copying into the float32 parameters widens the float16 values.
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise PlanError(f"{path} does not hold the weights of {folder / PLAN_NAME}: {error}") from error
    return plan, network.eval()


def save_model(folder: Path, plan: Plan, state: dict[str, torch.Tensor]) -> None:
    """Write a model folder; each file appears whole or not at all.

    What was made from other weights (OpenVINO's network, its 8-bit form) is removed: it is faster and
    would be run in place of the new ones.

    Args:
        folder: Made where missing.
        plan: The plan.
        state: State dict of a `PlainConvUNet` of that plan.

    Raises:
        PlanError: A weight is not finite in float16, or the state does not fit the plan.
    """
    halves = in_float16(state)
    try:
        PlainConvUNet(plan.network).load_state_dict(halves)
    except RuntimeError as error:
        raise PlanError(f"the weights do not fit the plan: {error}") from error
    folder.mkdir(parents=True, exist_ok=True)
    for name in MADE_FROM_WEIGHTS:
        (folder / name).unlink(missing_ok=True)
    write_weights(folder / WEIGHTS_NAME, halves)
    write_whole(folder / PLAN_NAME, plan.to_json())


def in_float16(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with its numbers in float16; integers, such as counters, stay as they are.

    Raises:
        PlanError: A weight is not finite in float16.
    """
    halves = {
        name: value.detach()
        .to("cpu", torch.float16 if value.is_floating_point() else value.dtype)
        .contiguous()
        for name, value in state.items()
    }
    broken = [name for name, value in halves.items() if not torch.isfinite(value).all()]
    if broken:
        raise PlanError(
            f"{broken[0]} holds values that are not finite in float16; the training has diverged."
        )
    return halves


def write_weights(path: Path, state: dict[str, torch.Tensor]) -> None:
    """Write a state dict as safetensors; the file appears whole or not at all."""
    with whole_file(path) as part:
        save_file(state, part)
        # safetensors makes it private, and the images run as another user.
        part.chmod(0o644)
