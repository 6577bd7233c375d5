"""Training through nnU-Net v2: from CTs and label maps to a checkpoint, every step resumable.

pairs = pairs_of(Path("data"))
task = Task("tumour", labels=("background", "tumour"))
options = Options(work=Path("work"), threads=2)
checkpoint = train(pairs, task, recipe, architecture, options)
export(checkpoint, Path("weights/tumour"))

Needs the packages of the `train` extra; they are imported when `train` runs, not before.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from segkit.errors import TrainingDataError
    from segkit.training.data import Pair, Task, pairs_of
    from segkit.training.run import Options, export, newest_checkpoint, train

_LIES_IN = {
    "Options": "run",
    "Pair": "data",
    "Task": "data",
    "TrainingDataError": "data",
    "export": "run",
    "newest_checkpoint": "run",
    "pairs_of": "data",
    "train": "run",
}

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


def __getattr__(name: str) -> Any:
    """Import what a name stands for; `segkit.training.phantoms` needs none of it."""
    if name not in _LIES_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"segkit.training.{_LIES_IN[name]}"), name)
