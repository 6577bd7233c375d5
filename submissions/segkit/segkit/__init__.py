"""What the method images share: a CT in, a network over it in tiles, a label map out.

plan = load_plan(Path("weights/plans.json"))
segmenter = Segmenter(plan, load_engine(Path("weights"), "int8"))
ct = read_ct(Path("inputs/case_0000.nii.gz"))
write_labels(Path("outputs/case.nii.gz"), segmenter.segment(ct), like=ct)

Nothing here imports torch, which takes a second or two, before it is asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from segkit.engine import Engine
from segkit.errors import ImageError, PlanError, SegkitError
from segkit.image import CT, read_ct, write_labels
from segkit.openvino_engine import OpenVINOEngine, load_engine
from segkit.plan import Plan, load_plan
from segkit.predict import Segmenter, Settings

_NEEDS_TORCH = {
    "TorchEngine": "segkit.torch_engine",
    "load_model": "segkit.model",
    "save_model": "segkit.model",
}

__all__ = [
    "CT",
    "Engine",
    "ImageError",
    "OpenVINOEngine",
    "Plan",
    "PlanError",
    "SegkitError",
    "Segmenter",
    "Settings",
    "TorchEngine",
    "load_engine",
    "load_model",
    "load_plan",
    "read_ct",
    "save_model",
    "write_labels",
]


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first asked for."""
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_NEEDS_TORCH[name]), name)
