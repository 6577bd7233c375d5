"""Compile a model folder for OpenVINO, as the image does when it is built.

python -m cascade.export weights model
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import openvino
import torch
from segkit.errors import SegkitError
from torch import nn

from cascade.fold import folded
from cascade.model import load_network, save_plan, tile_of
from cascade.plan import PHASES, load_plan


def export(weights: Path, model: Path) -> None:
    """Write the IR of both phases and the plan of the folder `weights` into the folder `model`.

    Raises:
        SegkitError: The folder `weights` is not whole.
    """
    plan = load_plan(weights)
    for phase in PHASES:
        network = folded(load_network(weights, plan, phase))
        export_openvino(network, tile_of(plan, phase), model / f"{phase}.xml")
    save_plan(model, plan)


def export_openvino(network: nn.Module, tile: tuple[int, int, int], path: Path) -> None:
    """Write a network as OpenVINO IR: an .xml beside a .bin of float16 weights.

    Args:
        network: Takes (1, 1, z, y, x), returns (1, class, z, y, x).
        tile: The fixed input size (z, y, x). A fixed size lets the compiler choose memory layouts.
        path: Where to; the name ends in .xml.
    """
    network = network.eval()
    example = torch.zeros(1, 1, *tile)
    with torch.no_grad(), warnings.catch_warnings():
        # That tracing fixes the sizes is what is wanted here.
        warnings.simplefilter("ignore")
        # Traced here, because OpenVINO's own tracing runs the network many times over.
        traced = torch.jit.trace(network, example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example, input=[1, 1, *tile])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=True)


def main() -> int:
    """The command line."""
    if len(sys.argv) != 3:
        print("usage: python -m cascade.export WEIGHTS MODEL", file=sys.stderr)
        return 2
    try:
        export(Path(sys.argv[1]), Path(sys.argv[2]))
    except SegkitError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
