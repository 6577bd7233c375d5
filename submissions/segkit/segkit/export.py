"""Write a model's network as OpenVINO's intermediate representation, as an image's build does.

    python -m segkit.export weights/organs_tumour

Needs torch, to build the network from its weights; running the result does not. With `--if-possible` an image
without OpenVINO, such as one for CUDA, runs the weights in torch instead.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from segkit.engine import has_openvino
from segkit.forms import FLOAT_IR
from segkit.ir import save_ir, to_openvino
from segkit.log import log
from segkit.model import load_model
from segkit.nnunet.bundle import BUNDLE_NAME
from segkit.nnunet.networks import export_bundle
from segkit.plan import Plan
from segkit.program import run_program


def export(folder: Path) -> Path:
    """Write the IR of a model folder into it, the weights in float16.

    They are those of its safetensors file, or of its 8-bit form where that is all there is.

    Raises:
        SegkitError: The folder holds no whole model.
    """
    plan, network = load_model(folder)
    return save_ir(to_openvino(network, smallest_input(plan)), folder / FLOAT_IR)


def smallest_input(plan: Plan) -> torch.Tensor:
    """An input that the network of a plan can run."""
    return torch.zeros(1, plan.network.channels_in, *(4 * divisor for divisor in plan.network.divisor))


def export_main(description: str, export_all: Callable[[Path, Path], None]) -> int:
    """The command line of a method that exports a folder of its own: `weights model [--if-possible]`.

    Args:
        description: Said by --help.
        export_all: Writes the networks of the first folder and what they need into the second.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("weights", type=Path, help="folder that train.py wrote")
    parser.add_argument("model", type=Path, help="folder to write")
    parser.add_argument("--if-possible", action="store_true", help="copy it where there is no OpenVINO")
    options = parser.parse_args()

    def work() -> None:
        if options.if_possible and not _can_export():
            shutil.copytree(options.weights, options.model, dirs_exist_ok=True)
            return
        export_all(options.weights, options.model)

    return run_program(work)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="networks of model folders and bundles to OpenVINO")
    parser.add_argument("folder", type=Path, nargs="+", help="model folder, or bundle")
    parser.add_argument("--if-possible", action="store_true", help="do nothing where there is no OpenVINO")
    options = parser.parse_args()

    def work() -> None:
        if options.if_possible and not _can_export():
            return
        for folder in options.folder:
            is_bundle = (folder / BUNDLE_NAME).is_file()
            for written in export_bundle(folder) if is_bundle else [export(folder)]:
                log.info(f"wrote {written}")

    return run_program(work)


def _can_export() -> bool:
    if not has_openvino():
        log.info("no OpenVINO here: the networks run in torch")
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
