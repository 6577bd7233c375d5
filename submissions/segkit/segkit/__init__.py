"""What the method images share: a CT in, a network over it in tiles, a label map out.

plan = load_plan(Path("weights/plans.json"))
segmenter = Segmenter(plan, load_engine(Path("weights"), "int8"))
ct = read_ct(Path("inputs/case_0000.nii.gz"))
write_labels(Path("outputs/case.nii.gz"), segmenter.segment(ct), like=ct)

Every name is imported when it is first asked for: torch takes a second or two, and where phantoms are
trained on, neither SimpleITK nor OpenVINO may be there.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.engine import Engine
    from segkit.errors import ImageError, PlanError, SegkitError
    from segkit.image import CT, read_ct, write_labels
    from segkit.model import load_model, save_model
    from segkit.openvino_engine import OpenVINOEngine, load_engine
    from segkit.plan import Plan, load_plan
    from segkit.predict import Segmenter, Settings
    from segkit.torch_engine import TorchEngine

_LIES_IN = {
    "CT": "image",
    "Engine": "engine",
    "ImageError": "errors",
    "OpenVINOEngine": "openvino_engine",
    "Plan": "plan",
    "PlanError": "errors",
    "SegkitError": "errors",
    "Segmenter": "predict",
    "Settings": "predict",
    "TorchEngine": "torch_engine",
    "load_engine": "openvino_engine",
    "load_model": "model",
    "load_plan": "plan",
    "read_ct": "image",
    "save_model": "model",
    "write_labels": "image",
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
    """Import what a name stands for."""
    if name not in _LIES_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"segkit.{_LIES_IN[name]}"), name)
