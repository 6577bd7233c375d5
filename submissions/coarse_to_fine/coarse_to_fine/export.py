"""Write the networks for OpenVINO, as the image does when it is built; the coarse one as far as it is run.

    python -m coarse_to_fine.export weights model

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
from segkit.export import to_openvino
from segkit.forms import FLOAT_IR
from segkit.log import log
from segkit.program import run_program

from coarse_to_fine.model import load_in_torch, plan_of
from coarse_to_fine.plan import PLAN_NAME, load_plan


def export(weights: Path, model: Path) -> None:
    """Write rules, plans and the IR of each network of the folder `weights` into the folder `model`.

    Raises:
        SegkitError: The folder `weights` is not whole.
    """
    import openvino

    plan = load_plan(weights)
    for name in plan.models:
        own = plan_of(weights, name)
        network = load_in_torch(weights, plan, name)
        smallest = [4 * divisor for divisor in own.network.divisor]
        example = torch.zeros(1, own.network.channels_in, *smallest)
        (model / name).mkdir(parents=True, exist_ok=True)
        openvino.save_model(to_openvino(network, example), model / name / FLOAT_IR, compress_to_fp16=True)
        shutil.copy(weights / name / PLAN_NAME, model / name)
    shutil.copy(weights / PLAN_NAME, model)


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="the networks to OpenVINO")
    parser.add_argument("weights", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--if-possible", action="store_true", help="copy the weights where none is")
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
