"""What the networks of a folder of models cost: parameters, multiplications, and time on this machine.

    python -m coarse_to_fine.cost plans/published --time
    python -m coarse_to_fine.cost weights

The folder needs plans alone; weights are not looked at, since they change no cost. With `--time` one window
of each network is run in torch; its processor time and the number of windows give the time of a case on two
cores that do nothing else.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from segkit.cpu import usable_cpus
from segkit.network import PlainConvUNet
from segkit.plan import Plan
from segkit.program import run_program
from segkit.resample import grid_shape
from segkit.windows import tiles
from torch import nn

from coarse_to_fine.model import plan_of
from coarse_to_fine.network import TruncatedUNet
from coarse_to_fine.pipeline import CoarseToFineSettings, shrunk
from coarse_to_fine.plan import COARSE, MethodPlan, load_plan

CORES = 2
CASE_SHAPE, CASE_SPACING_MM = (597, 512, 512), (1.0, 0.8, 0.8)
BOX_MM = (400.0, 270.0, 340.0)
"""About the box of an adult's abdominal organs with 20 mm of margin: z, y, x."""


@dataclass(frozen=True)
class Cost:
    """What a network costs.

    Attributes:
        name: Its folder.
        parameters: Of the whole network.
        whole_gmac: 1e9 multiplications with addition of one window to the finest head.
        run_gmac: Those of what inference runs.
        windows: Windows of a case.
        window_s: Processor seconds of one window; None where it was not measured.
    """

    name: str
    parameters: int
    whole_gmac: float
    run_gmac: float
    windows: int
    window_s: float | None

    def line(self) -> str:
        """A row of a Markdown table."""
        cells = [
            self.name,
            f"{self.parameters:,}",
            f"{self.whole_gmac:.1f}",
            f"{self.run_gmac:.1f}",
            str(self.windows),
        ]
        if self.window_s is not None:
            cells += [f"{self.window_s:.1f}", f"{self.windows * self.window_s / CORES:.0f}"]
        return "| " + " | ".join(cells) + " |"


def costs(folder: Path, *, measure: bool = False) -> Iterator[Cost]:
    """The cost of each network of a folder.

    Args:
        folder: Holds the rules and a folder with a plan for each network.
        measure: Run a window of each.

    Raises:
        SegkitError: A plan is missing or damaged.
    """
    rules = load_plan(folder)
    for name in rules.models:
        plan = plan_of(folder, name)
        with torch.device("meta"):
            whole = PlainConvUNet(plan.network)
        run = TruncatedUNet(whole, rules.coarse.head) if name == COARSE else whole
        yield Cost(
            name=name,
            parameters=sum(weight.numel() for weight in whole.parameters()),
            whole_gmac=gmac(whole, plan.patch),
            run_gmac=gmac(run, plan.patch),
            windows=windows_of(name, plan, rules),
            window_s=processor_s(run.to_empty(device="cpu"), plan.patch) if measure else None,
        )


def gmac(network: nn.Module, patch: Sequence[int]) -> float:
    """1e9 multiplications with addition of a network's convolutions for one window (z, y, x).

    Args:
        network: On the device "meta", where shapes are computed and nothing else.
        patch: Size of the window.
    """
    count = 0

    def add(layer: nn.Module, inputs: tuple[torch.Tensor], output: torch.Tensor) -> None:
        nonlocal count
        # A transposed convolution multiplies for each voxel that goes in, others for each that comes out.
        voxels = (inputs[0] if isinstance(layer, nn.ConvTranspose3d) else output)[0, 0].numel()
        count += voxels * layer.weight.numel()

    with _hooked(network, add), torch.inference_mode():
        network(torch.empty(1, 1, *patch, device="meta"))
    return count / 1e9


def windows_of(name: str, plan: Plan, rules: MethodPlan) -> int:
    """The windows of a large CT: all of it for the coarse network, the organs' box for the others."""
    shape, step = CASE_SHAPE, rules.coarse.step
    if name != COARSE:
        z, y, x = (round(size / spacing) for size, spacing in zip(BOX_MM, CASE_SPACING_MM, strict=True))
        shape, step = (z, y, x), CoarseToFineSettings.step
    grid = shrunk(grid_shape(shape, CASE_SPACING_MM, plan.spacing_mm), rules.largest_plane)
    z, y, x = (max(size, least) for size, least in zip(grid, plan.patch, strict=True))
    return sum(1 for _ in tiles((z, y, x), plan.patch, step))


def processor_s(network: nn.Module, patch: Sequence[int]) -> float:
    """Processor seconds of one window in torch, float32, which other jobs of the machine change little."""
    torch.set_num_threads(usable_cpus())
    for weight in network.parameters():
        nn.init.normal_(weight, std=0.01)
    image = torch.randn(1, 1, *patch)
    began = time.process_time()
    with torch.inference_mode():
        network.eval()(image)
    return time.process_time() - began


@contextmanager
def _hooked(network: nn.Module, add: Callable[..., None]) -> Iterator[None]:
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d)]
    handles = [layer.register_forward_hook(add) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="what the networks of a folder of models cost")
    parser.add_argument("folder", type=Path, help="rules, and a folder with plans.json for each network")
    parser.add_argument("--time", action="store_true", help="run a window of each network in torch")
    options = parser.parse_args()

    def work() -> None:
        heads = ["network", "parameters", "GMAC whole", "GMAC as run", "windows"]
        heads += ["processor s a window", "s a case on two cores"] if options.time else []
        print("| " + " | ".join(heads) + " |")
        print("|" + "---|" * len(heads))
        for cost in costs(options.folder, measure=options.time):
            print(cost.line(), flush=True)

    return run_program(work)


if __name__ == "__main__":
    sys.exit(main())
