"""Models of segkit as labellers: organ pseudo labels, and predictions for judging."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from segkit.export import export
from segkit.openvino_engine import FLOAT_IR, load_engine
from segkit.plan import load_plan
from segkit.predict import Segmenter, Settings

from distilled.labelling import Segment


def load_unet(folder: Path, *, leave_out: Sequence[int] = (), step: float = 0.5) -> Segment:
    """A model folder of segkit, ready to label in float32.

    Args:
        folder: Model folder; OpenVINO's form of the network is made where it is missing.
        leave_out: Labels that are never chosen; their voxels go to the runner-up.
        step: Distance of neighbouring tiles as a fraction of the tile.

    Raises:
        SegkitError: The folder holds no whole model.
    """
    plan = load_plan(folder / "plans.json")
    if not (folder / FLOAT_IR).exists():
        export(folder)
    known = [value for value in leave_out if value < len(plan.labels)]
    return Segmenter(plan, load_engine(folder, "f32"), Settings(step=step), leave_out=known).segment
