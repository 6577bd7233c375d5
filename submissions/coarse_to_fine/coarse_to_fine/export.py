"""Write the networks for OpenVINO, as the image does when it is built; the coarse one as far as it is run.

    python -m coarse_to_fine.export weights model

The folder `model` then takes the place of `weights`. With `--if-possible` an image without OpenVINO, such as
one for CUDA, gets the weights themselves, which run in torch.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from segkit.export import export_main, smallest_input
from segkit.forms import FLOAT_IR
from segkit.ir import save_ir, to_openvino

from coarse_to_fine.model import load_in_torch, plan_of
from coarse_to_fine.plan import PLAN_NAME, load_plan


def export(weights: Path, model: Path) -> None:
    """Write rules, plans and the IR of each network of the folder `weights` into the folder `model`.

    Raises:
        SegkitError: The folder `weights` is not whole.
    """
    plan = load_plan(weights)
    for name in plan.models:
        network = load_in_torch(weights, plan, name)
        save_ir(to_openvino(network, smallest_input(plan_of(weights, name))), model / name / FLOAT_IR)
        shutil.copy(weights / name / PLAN_NAME, model / name)
    shutil.copy(weights / PLAN_NAME, model)


if __name__ == "__main__":
    sys.exit(export_main("the networks to OpenVINO", export))
