"""Beginning a member with the weights of another network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segkit.errors import TrainingDataError
from segkit.log import log
from segkit.nnunet.bundle import fold_folder, load_bundle


def begin_with(bundle: Path, configuration: str, network: Any) -> None:
    """Copy the weights of a bundle's first fold into a network of nnU-Net's.

    A configuration that the bundle lacks begins with another one of as many axes. Where the new network has
    more input channels, as a cascade has, the weights of those begin with zero.

    Args:
        bundle: The bundle's folder.
        configuration: What is trained.
        network: Its network, of the same shape otherwise.

    Raises:
        TrainingDataError: The bundle has no network of that shape.
    """
    import torch
    from safetensors.torch import load_file
    from segkit.model import WEIGHTS_NAME

    there = load_bundle(bundle).configurations
    name = next(
        (each for each in (configuration, *there) if each in there and each[:2] == configuration[:2]), None
    )
    if name is None:
        raise TrainingDataError(f"{bundle} has {', '.join(there)} and nothing to begin {configuration} with")
    given = load_file(fold_folder(bundle, name, there[name].folds[0]) / WEIGHTS_NAME)
    own = network.state_dict()
    with torch.no_grad():
        for key, value in given.items():
            if key not in own or own[key].dim() != value.dim():
                raise TrainingDataError(
                    f"{bundle}: its {name} is another network than {configuration} ({key})"
                )
            if own[key].shape[:1] != value.shape[:1] or own[key].shape[2:] != value.shape[2:]:
                raise TrainingDataError(f"{bundle}: {key} of {name} has another size than in {configuration}")
            # What nnU-Net keeps under other names shares this memory.
            own[key].zero_()
            target = own[key] if value.dim() == 1 else own[key][:, : value.shape[1]]
            target.copy_(value)
    log.info(f"{configuration} begins with {name} of {bundle}")
