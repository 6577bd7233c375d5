"""Write both networks for OpenVINO, as the image does when it is built.

    python -m cascade.export weights model

The folder `model` then takes the place of `weights`. With `--if-possible` an image without OpenVINO, such as
one for CUDA, gets the weights themselves, which run in torch.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

import torch
from segkit.engine import has_openvino
from segkit.export import tracing_quietly
from segkit.log import log
from segkit.program import run_program
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
    import openvino

    network = network.eval()
    example = torch.zeros(1, 1, *tile)
    with torch.no_grad(), tracing_quietly():
        # Traced here, because OpenVINO's own tracing runs the network many times over.
        traced = torch.jit.trace(network, example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example, input=[1, 1, *tile])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=True)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="both networks of a model folder to OpenVINO")
    parser.add_argument("weights", type=Path, help="model folder that train.py wrote")
    parser.add_argument("model", type=Path, help="folder to write")
    parser.add_argument("--if-possible", action="store_true", help="copy it where there is no OpenVINO")
    options = parser.parse_args()

    def work() -> None:
        if options.if_possible and not has_openvino():
            log.info("no OpenVINO here: the networks run in torch")
            shutil.copytree(options.weights, options.model, dirs_exist_ok=True)
            return
        export(options.weights, options.model)

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
