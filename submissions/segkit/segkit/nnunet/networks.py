"""The networks of a bundle in torch, and their form for OpenVINO."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from segkit.errors import PlanError
from segkit.forms import FLOAT_IR
from segkit.ir import save_ir, to_openvino
from segkit.model import WEIGHTS_NAME
from segkit.network import UNet
from segkit.nnunet.bundle import Bundle, fold_folder, load_bundle
from segkit.plan import NetworkPlan


def load_network(folder: Path, plan: NetworkPlan) -> UNet:
    """The network of a fold, in float32 and ready for inference.

    Raises:
        PlanError: Its weights are missing or do not fit.
    """
    path = folder / WEIGHTS_NAME
    if not path.is_file():
        raise PlanError(f"{path} is missing; make the bundle anew with python -m segkit.nnunet.convert.")
    network = UNet(plan)
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        raise PlanError(f"{path} does not hold the weights of its configuration: {error}") from error
    return network.eval()


def every_fold(folder: Path, bundle: Bundle) -> list[tuple[str, str, Path]]:
    """Configuration, fold and folder of every network of a bundle."""
    return [
        (name, fold, fold_folder(folder, name, fold))
        for name, configuration in bundle.configurations.items()
        for fold in configuration.folds
    ]


def export_bundle(folder: Path) -> list[Path]:
    """Write OpenVINO's form of every network of a bundle, the weights in float16 as they come.

    Raises:
        PlanError: The folder holds no whole bundle.
    """
    bundle = load_bundle(folder)
    return [export_fold(place, bundle, name) for name, _, place in every_fold(folder, bundle)]


def export_fold(place: Path, bundle: Bundle, name: str) -> Path:
    """Write OpenVINO's form of one network beside its weights."""
    configuration = bundle.configurations[name]
    example = torch.zeros(1, configuration.network.channels_in, *configuration.patch)
    batches = configuration.network.axes == 2
    model = to_openvino(load_network(place, configuration.network), example, batches=batches)
    return save_ir(model, place / FLOAT_IR)
