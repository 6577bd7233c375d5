"""What is trained: a network, how it is called in training, and how it is written."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from segkit.errors import SegkitError
from segkit.plan import Intensity, Plan, network_of_architecture

State = dict[str, torch.Tensor]


class RecipeError(SegkitError):
    """A recipe that describes no training."""


@dataclass(frozen=True)
class Trainee:
    """A network that can be trained on phantoms.

    Attributes:
        network: The network, float32, on the CPU.
        logits: The network's logits of each resolution in training, the finest first, from images
            (batch, 1, z, y, x); shapes (batch, class, z, y, x).
        labels: Name of each output, the background first.
        outputs: The output for each label 0 to 14 of a phantom.
        save: Writes a state dict as the method ships it: folder, state, and where it comes from.
        load: Reads the state dict of such a folder.
    """

    network: nn.Module
    logits: Callable[[nn.Module, torch.Tensor], list[torch.Tensor]]
    labels: tuple[str, ...]
    outputs: tuple[int, ...]
    save: Callable[[Path, State, dict[str, str]], None]
    load: Callable[[Path], State]


def trainee_of(recipe: Mapping[str, Any], folder: Path) -> Trainee:
    """Build what a recipe trains.

    Args:
        recipe: Its "trainee" is the name of a function, "plain_unet" or "package.module:function", that
            takes the recipe and returns a `Trainee`. Packages are looked for in the submission's folder.
        folder: The submission's folder.

    Raises:
        RecipeError: There is no such function.
    """
    name = str(recipe.get("trainee", "plain_unet"))
    if name == "plain_unet":
        return plain_unet(recipe)
    return named(name, folder)(recipe)


def named(name: str, folder: Path) -> Callable[..., Any]:
    """The function "package.module:function" of a submission.

    Raises:
        RecipeError: There is no such function.
    """
    module, _, function = name.partition(":")
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise RecipeError(f"the recipe's {name!r} cannot be imported: {error}") from error


def plain_unet(recipe: Mapping[str, Any]) -> Trainee:
    """A PlainConvUNet, written as a model folder of segkit.

    Args:
        recipe: "architecture" as in nnU-Net's plans, "labels" the name of each output, "window",
            "spacing_mm" and "patch" as in a `Rendering`; "learnt" maps stored labels to outputs where
            these differ.
    """
    from segkit.model import load_model, save_model
    from segkit.network import PlainConvUNet

    labels = tuple(recipe["labels"])
    plan = Plan(
        spacing_mm=tuple(recipe["spacing_mm"]),
        patch=tuple(recipe.get("tile", recipe["patch"])),
        intensity=Intensity(**recipe["window"]),
        labels=labels,
        network=network_of_architecture(recipe["architecture"], len(labels)),
    )

    def save(folder: Path, state: State, source: dict[str, str]) -> None:
        save_model(folder, Plan(**{**vars(plan), "source": source}), state)

    return Trainee(
        network=PlainConvUNet(plan.network).apply(initialise),
        logits=deep_logits,
        labels=labels,
        outputs=outputs_of(recipe, len(labels)),
        save=save,
        load=lambda folder: load_model(folder)[1].state_dict(),
    )


def deep_logits(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Deep supervision of networks that offer it under nnU-Net's conditions."""
    return network.deep_logits(images)


def outputs_of(recipe: Mapping[str, Any], count: int) -> tuple[int, ...]:
    """The output for each label 0 to 14: the recipe's "learnt", or the label itself where it is one."""
    learnt = recipe.get("learnt")
    if learnt is None:
        return tuple(label if label < count else 0 for label in range(15))
    return tuple(int(learnt.get(str(label), 0)) for label in range(15))


def initialise(module: nn.Module) -> None:
    """He's initialisation of convolutions, for `network.apply`."""
    if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
        nn.init.kaiming_normal_(module.weight, a=0.01)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def copy_state(network: nn.Module, state: State, skip: Sequence[str] = ()) -> None:
    """Copy a state dict into a network.

    Raises:
        RecipeError: It is that of another network.
    """
    try:
        network.load_state_dict({name: value for name, value in state.items() if name not in skip})
    except RuntimeError as error:
        raise RecipeError(f"the weights to start from are those of another network: {error}") from error
