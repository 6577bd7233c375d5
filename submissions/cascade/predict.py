"""What happens to one CT: read, find the organs' region, segment it in tiles, write the label map.

Both networks run in OpenVINO as compiled when the image was built, or in torch where there is a GPU or no
OpenVINO. settings.json names two ways to run them: `fast` takes the numbers that the device is quick with,
`exact` float32.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cascade.pipeline import Cascade, CascadeSettings
from cascade.plan import PHASES, CascadePlan, load_plan
from segkit.engine import Network, open_network
from segkit.method import Choice, predict_main
from segkit.profile import Profile

if TYPE_CHECKING:
    from torch import nn


def load_cascade(choice: Choice[CascadeSettings], profile: Profile) -> Cascade:
    """Both phases, ready to run."""
    plan = load_plan(choice.weights)
    tiles = (plan.location.size, plan.organs.patch)
    location, organs = (
        open_network(network_of(choice.weights, plan, phase), choice.engine, tile=tile)
        for phase, tile in zip(PHASES, tiles, strict=True)
    )
    return Cascade(plan, location, organs, settings=choice.settings, profile=profile)


def network_of(weights: Path, plan: CascadePlan, phase: str) -> Network:
    """The network of a phase; there is no form of it in 8-bit integers."""
    return Network(
        in_torch=partial(load_in_torch, weights, plan, phase),
        float_ir=weights / f"{phase}.xml",
        int8_ir=weights / f"{phase}.int8.xml",
    )


def load_in_torch(weights: Path, plan: CascadePlan, phase: str) -> nn.Module:
    """The network with its weights."""
    # Importing torch takes longer than a small CT does.
    from cascade.model import load_network

    return load_network(weights, plan, phase)


if __name__ == "__main__":
    sys.exit(predict_main(Path(__file__).resolve().parent, load_cascade, CascadeSettings, about=__doc__))
