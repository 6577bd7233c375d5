"""A torch network as OpenVINO's intermediate representation (IR), an .xml and a .bin of weights."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    import openvino


def to_openvino(network: nn.Module, example: torch.Tensor, *, batches: bool = False) -> openvino.Model:
    """The network as an OpenVINO model of one input whose spatial sizes are free.

    Args:
        network: Takes and gives tensors (1, channel, z, y, x).
        example: An input that the network can run.
        batches: Leave free how many images are run at once, too.
    """
    import openvino

    network.eval()
    with torch.inference_mode(), tracing_quietly():
        return openvino.convert_model(
            network,
            example_input=example,
            input=[-1 if batches else 1, example.shape[1], *[-1] * (example.dim() - 2)],
        )


def to_openvino_of_one_size(network: nn.Module, example: torch.Tensor) -> openvino.Model:
    """The network as an OpenVINO model of the example's size, which lets the compiler choose layouts.

    Args:
        network: Takes and gives tensors (1, channel, z, y, x).
        example: An input of the only size that the model will take.
    """
    import openvino

    network.eval()
    with torch.no_grad(), tracing_quietly():
        # Traced here, because OpenVINO's own tracing runs the network many times over.
        traced = torch.jit.trace(network, example, check_trace=False)
        return openvino.convert_model(traced, example_input=example, input=list(example.shape))


def save_ir(model: openvino.Model, path: Path) -> Path:
    """Write a model with its weights in float16; returns the .xml's path, whose folder is made if missing."""
    import openvino

    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=True)
    return path


@contextmanager
def tracing_quietly() -> Iterator[None]:
    """Leave out what torch says while OpenVINO has a network traced.

    Tracing is torch's older way, the one that OpenVINO knows; and that sizes are taken as constants is what
    is wanted of a network whose checks of sizes have passed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield
