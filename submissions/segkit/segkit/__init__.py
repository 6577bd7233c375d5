"""What the method images share: a CT in, a network over it in tiles, a label map out.

plan, network = load_model(Path("weights"))
segmenter = Segmenter(plan, TorchEngine(network))
ct = read_ct(Path("inputs/case_0000.nii.gz"))
write_labels(Path("outputs/case.nii.gz"), segmenter.segment(ct), like=ct)
"""

from segkit.engine import Engine, TorchEngine
from segkit.errors import ImageError, PlanError, SegkitError
from segkit.image import CT, read_ct, write_labels
from segkit.model import load_model, save_model
from segkit.plan import Plan
from segkit.predict import Segmenter, Settings

__all__ = [
    "CT",
    "Engine",
    "ImageError",
    "Plan",
    "PlanError",
    "SegkitError",
    "Segmenter",
    "Settings",
    "TorchEngine",
    "load_model",
    "read_ct",
    "save_model",
    "write_labels",
]
