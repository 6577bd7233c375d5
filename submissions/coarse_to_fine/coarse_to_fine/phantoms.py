"""The models as `segkit.training.phantoms` trains them, beginning with what another model has learnt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from segkit.model import load_model
from segkit.training.phantoms.store import Volume
from segkit.training.phantoms.trainee import RecipeError, State, Trainee, plain_unet

TUMOUR = 14

_HEADS = "decoder.seg_layers."


def unet(recipe: Mapping[str, Any]) -> Trainee:
    """A PlainConvUNet that may begin with the weights of a deeper one, or of one with other labels."""
    trainee = plain_unet(recipe)

    def load(folder: Path) -> State:
        plan, network = load_model(folder)
        return fitted(network.state_dict(), plan.labels, trainee.network.state_dict(), trainee.labels)

    return replace(trainee, load=load)


def has_tumour(volume: Volume) -> bool:
    """Whether a tumour model may learn from a phantom."""
    return TUMOUR in volume.places


def fitted(theirs: State, their_labels: Sequence[str], mine: State, labels: Sequence[str]) -> State:
    """The weights of another U-Net where they have a place in this one.

    Stages are matched from the finest on, so a deeper network lends its finer stages, and outputs by the
    names of their labels. A label that the other network does not know keeps the first weights given.

    Args:
        theirs: State of the other PlainConvUNet.
        their_labels: Name of each of its outputs.
        mine: State of the new network.
        labels: Name of each of its outputs.

    Raises:
        RecipeError: The other network is shallower, or of another width or kernel.
    """
    deeper = _decoder_steps(theirs) - _decoder_steps(mine)
    known = [(row, their_labels.index(name)) for row, name in enumerate(labels) if name in their_labels]
    result = {}
    for name, value in mine.items():
        lent = theirs.get(_place_in(name, deeper))
        is_head = name.startswith(_HEADS)
        if lent is None or lent.shape[is_head:] != value.shape[is_head:]:
            raise RecipeError(f"the weights to start from have no {name} of shape {list(value.shape)}")
        result[name] = value.clone() if is_head else lent.clone()
        for row, their_row in known if is_head else ():
            result[name][row] = lent[their_row]
    return result


def _decoder_steps(state: State) -> int:
    return len({name.split(".")[2] for name in state if name.startswith(_HEADS)})


def _place_in(name: str, deeper: int) -> str:
    """A weight's name in a network whose decoder begins some steps deeper; encoders count from the finest."""
    if not name.startswith("decoder."):
        return name
    part, kind, step, *rest = name.split(".")
    return ".".join((part, kind, str(int(step) + deeper), *rest))
