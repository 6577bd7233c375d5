"""Models of segkit as labellers: organ pseudo labels, and predictions for judging."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segkit.engine import Engine
from segkit.forms import FLOAT_IR
from segkit.model import load_model
from segkit.partial.labelling import Segment
from segkit.plan import load_plan
from segkit.predict import Segmenter, Settings
from segkit.torch_engine import TorchEngine, best_device


def load_unet(
    folder: Path, *, leave_out: Sequence[int] = (), step: float = 0.5, device: str | None = None
) -> Segment:
    """A model folder of segkit, ready to label: in torch on a GPU, in OpenVINO and float32 on a CPU.

    Args:
        folder: Model folder; OpenVINO's form of the network is made where it is missing and needed.
        leave_out: Labels that are never chosen; their voxels go to the runner-up.
        step: Distance of neighbouring tiles as a fraction of the tile.
        device: "cpu" or "cuda"; the GPU where there is one if None.

    Raises:
        SegkitError: The folder holds no whole model.
    """
    plan = load_plan(folder / "plans.json")
    known = [value for value in leave_out if value < len(plan.labels)]
    return Segmenter(
        plan, _engine(folder, device or best_device()), Settings(step=step), leave_out=known
    ).segment


def _engine(folder: Path, device: str) -> Engine:
    if device != "cpu":
        return TorchEngine(load_model(folder)[1], device=device)
    # Only where it runs: a machine with a GPU need not have OpenVINO.
    from segkit.export import export
    from segkit.openvino_engine import load_engine

    if not (folder / FLOAT_IR).exists():
        export(folder)
    return load_engine(folder, "f32")
