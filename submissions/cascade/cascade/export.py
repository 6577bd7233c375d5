"""Write both networks for OpenVINO, as the image does when it is built.

    python -m cascade.export weights model

The folder `model` then takes the place of `weights`. With `--if-possible` an image without OpenVINO, such as
one for CUDA, gets the weights themselves, which run in torch.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from segkit.export import export_main
from segkit.ir import save_ir, to_openvino_of_one_size
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
    """Write a network of one channel as OpenVINO IR.

    Args:
        network: Takes (1, 1, z, y, x), returns (1, class, z, y, x).
        tile: The fixed input size (z, y, x).
        path: Where to; the name ends in .xml.
    """
    save_ir(to_openvino_of_one_size(network, torch.zeros(1, 1, *tile)), path)


if __name__ == "__main__":
    sys.exit(export_main("both networks of a model folder to OpenVINO", export))
