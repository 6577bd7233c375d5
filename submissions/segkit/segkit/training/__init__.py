"""Training through nnU-Net v2: from CTs and label maps to a checkpoint, every step resumable.

pairs = pairs_of(Path("data"))
task = Task("tumour", labels=("background", "tumour"))
options = Options(work=Path("work"), threads=2)
checkpoint = train(pairs, task, recipe, architecture, options)
export(checkpoint, Path("weights/tumour"))

Needs the packages of the `train` extra; they are imported when `train` runs, not before.
"""

from __future__ import annotations

from segkit.training.data import Pair, Task, TrainingDataError, pairs_of
from segkit.training.run import Options, export, newest_checkpoint, train

__all__ = [
    "Options",
    "Pair",
    "Task",
    "TrainingDataError",
    "export",
    "newest_checkpoint",
    "pairs_of",
    "train",
]
