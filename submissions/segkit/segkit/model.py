"""Model folders: plans.json, and weights in float16 (model.safetensors) or in 8-bit integers.

Shipped models have one form: the network in 8-bit integers (int8.xml), from which its weights are read back,
or a safetensors file whose kernels are integers (`compact`). No pickle is ever opened.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from segkit.errors import PlanError
from segkit.files import whole_file, write_whole
from segkit.forms import INT8_IR
from segkit.network import PlainConvUNet
from segkit.plan import Plan, load_plan
from segkit.restore import state_of_ir

PLAN_NAME = "plans.json"
WEIGHTS_NAME = "model.safetensors"
MADE_FROM_WEIGHTS = ("network.xml", "network.bin", "int8.xml", "int8.bin", "int8.json")


_SCALE = ".scale"
_SMALLEST_KERNEL = 1024


def load_model(folder: Path) -> tuple[Plan, PlainConvUNet]:
    """The plan and the network of a model folder, the network in float32 and ready for inference.

    Of a folder that holds the 8-bit form alone, the heads that only training uses are zero.

    Raises:
        PlanError: A file is missing or damaged, or the weights do not fit the plan.
    """
    plan = load_plan(folder / PLAN_NAME)
    path = weights_file(folder)
    if path.name == INT8_IR:
        return plan, network_of_ir(plan, path)
    network = PlainConvUNet(plan.network)
    try:
        network.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise PlanError(f"{path} does not hold the weights of {folder / PLAN_NAME}: {error}") from error
    return plan, network.eval()


def network_of_ir(plan: Plan, path: Path) -> PlainConvUNet:
    """The network of a plan with the weights of its 8-bit form.

    What that leaves out is given values that do nothing: heads that only training uses are zero, and norms
    and biases that changed no image are one and zero.

    Raises:
        PlanError: The form is damaged, or that of another network.
    """
    network = PlainConvUNet(plan.network)
    state = network.state_dict()
    last = f"seg_layers.{len(plan.network.convs_decoder) - 1}."
    found = state_of_ir(path)
    for name, value in state.items():
        if "norm.weight" in name:
            state[name] = torch.ones_like(value)
        elif name.endswith("bias") or ("seg_layers" in name and last not in name):
            state[name] = torch.zeros_like(value)
        elif name not in found:
            raise PlanError(f"{path} holds no {name}; it is the form of another network.")
    try:
        network.load_state_dict({**state, **found})
    except RuntimeError as error:
        raise PlanError(f"{path} does not hold the weights of the plan beside it: {error}") from error
    return network.eval()


def weights_file(folder: Path) -> Path:
    """The file that holds the weights of a model folder.

    Raises:
        PlanError: There is none.
    """
    for name in (WEIGHTS_NAME, INT8_IR):
        if (folder / name).is_file():
            return folder / name
    raise PlanError(
        f"{folder / WEIGHTS_NAME} is missing; a model needs {PLAN_NAME} and {WEIGHTS_NAME} or {INT8_IR}."
    )


def load_state(folder: Path) -> dict[str, torch.Tensor]:
    """The weights of a model folder, float32, from whichever form it holds.

    Raises:
        PlanError: It holds none, or one that is damaged.
    """
    path = weights_file(folder)
    return read_weights(path) if path.name == WEIGHTS_NAME else state_of_ir(path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from a safetensors file, compact or not; numbers in float32.

    Raises:
        PlanError: The file is damaged.
    """
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise PlanError(f"{path} does not hold the weights of a network: {error}") from error
    state = {}
    for name, value in stored.items():
        if name + _SCALE in stored:
            state[name] = value.float() * stored[name + _SCALE].float()
        elif not (name.endswith(_SCALE) and name.removesuffix(_SCALE) in stored):
            state[name] = value.float() if value.is_floating_point() else value
    return state


def compact(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict with its kernels in 8-bit integers, a scale for each slice of the first axis beside them.

    Half of the size of float16; the largest change of a weight is 1/254 of the largest one of its slice.

    Raises:
        PlanError: A weight is not finite in float16.
    """
    smaller = {}
    for name, value in in_float16(state).items():
        if value.dim() < 2 or value.numel() < _SMALLEST_KERNEL or not value.is_floating_point():
            smaller[name] = value
            continue
        kernel = state[name].detach().to("cpu", torch.float32)
        scale = kernel.abs().amax(dim=tuple(range(1, kernel.dim())), keepdim=True).clamp(min=1e-12) / 127
        smaller[name] = (kernel / scale).round().to(torch.int8).contiguous()
        smaller[name + _SCALE] = scale
    return smaller


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
