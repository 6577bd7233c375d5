"""Write a model's network as OpenVINO's intermediate representation, as an image's build does.

    python -m segkit.export weights/organs_tumour

Needs torch, to build the network from its weights; running the result does not.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import openvino
import torch
from torch import nn

from segkit.errors import SegkitError
from segkit.model import load_model
from segkit.openvino_engine import FLOAT_IR


def to_openvino(network: nn.Module, example: torch.Tensor) -> openvino.Model:
    """The network as an OpenVINO model of one input whose three spatial sizes are free.

    Args:
        network: Takes and gives tensors (1, channel, z, y, x).
        example: An input that the network can run.
    """
    network.eval()
    with torch.inference_mode():
        return openvino.convert_model(
            network, example_input=example, input=[*example.shape[:2], *[-1] * (example.dim() - 2)]
        )


def export(folder: Path) -> Path:
    """Write the IR of a model folder into it, the weights in float16 as they come.

    Raises:
        SegkitError: The folder holds no whole model.
    """
    plan, network = load_model(folder)
    smallest = [4 * divisor for divisor in plan.network.divisor]
    model = to_openvino(network, torch.zeros(1, plan.network.channels_in, *smallest))
    path = folder / FLOAT_IR
    openvino.save_model(model, path, compress_to_fp16=True)
    return path


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="a model folder's network to OpenVINO")
    parser.add_argument("folder", type=Path, nargs="+", help="model folder")
    try:
        for folder in parser.parse_args().folder:
            print(f"wrote {export(folder)}", file=sys.stderr)
    except SegkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
