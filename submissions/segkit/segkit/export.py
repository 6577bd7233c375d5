"""Write a model's network as OpenVINO's intermediate representation, as an image's build does.

    python -m segkit.export weights/organs_tumour

Needs torch, to build the network from its weights; running the result does not. With `--if-possible` an image
without OpenVINO, such as one for CUDA, runs the weights in torch instead.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from segkit.engine import has_openvino
from segkit.forms import FLOAT_IR
from segkit.log import log
from segkit.model import load_model
from segkit.nnunet.bundle import BUNDLE_NAME
from segkit.plan import Plan
from segkit.program import run_program

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


def export(folder: Path) -> Path:
    """Write the IR of a model folder into it, the weights in float16.

    They are those of its safetensors file, or of its 8-bit form where that is all there is.

    Raises:
        SegkitError: The folder holds no whole model.
    """
    plan, network = load_model(folder)
    model = to_openvino(network, smallest_input(plan))
    import openvino

    path = folder / FLOAT_IR
    openvino.save_model(model, path, compress_to_fp16=True)
    return path


def smallest_input(plan: Plan) -> torch.Tensor:
    """An input that the network of a plan can run."""
    return torch.zeros(1, plan.network.channels_in, *(4 * divisor for divisor in plan.network.divisor))


def _export_any(folder: Path) -> list[Path]:
    """Export a model folder, or every network of a bundle."""
    if not (folder / BUNDLE_NAME).is_file():
        return [export(folder)]
    from segkit.nnunet.networks import export_bundle  # which stands on this module

    return export_bundle(folder)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="networks of model folders and bundles to OpenVINO")
    parser.add_argument("folder", type=Path, nargs="+", help="model folder, or bundle")
    parser.add_argument("--if-possible", action="store_true", help="do nothing where there is no OpenVINO")
    options = parser.parse_args()

    def work() -> None:
        if options.if_possible and not has_openvino():
            log.info("no OpenVINO here: the networks run in torch")
            return
        for folder in options.folder:
            for written in _export_any(folder):
                log.info(f"wrote {written}")

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
