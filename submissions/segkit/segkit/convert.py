"""nnU-Net v2 checkpoint to a model folder.

    python -m segkit.convert checkpoint_final.pth --plans plans.json --dataset dataset.json --out weights

A checkpoint is a pickle. It is opened with torch's restricted unpickler, which builds tensors and
plain values and runs no code.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from segkit.errors import PlanError
from segkit.model import save_model
from segkit.plan import from_nnunet
from segkit.program import run_program

# Where numpy keeps what unpickles its numbers; it has no public name.
_NUMPY: Any = importlib.import_module("numpy._core.multiarray")
# nnU-Net keeps numbers of its training log as numpy scalars beside the weights.
_PLAIN_VALUES = [
    np.dtype,
    np.float32,
    np.float64,
    np.int64,
    np.ndarray,
    np.dtypes.Float32DType,
    np.dtypes.Float64DType,
    np.dtypes.Int64DType,
    _NUMPY.scalar,
    (_NUMPY.scalar, "numpy.core.multiarray.scalar"),
    _NUMPY._reconstruct,
]


def convert(
    *,
    checkpoint: Path,
    plans: Path,
    dataset: Path,
    out: Path,
    configuration: str | None = None,
    orientation: Literal["canonical", "stored"] = "stored",
) -> None:
    """Write the model folder `out` from nnU-Net's files.

    Args:
        checkpoint: checkpoint_final.pth or another checkpoint.
        plans: plans.json of the training.
        dataset: dataset.json of the training.
        out: The model folder.
        configuration: The configuration; the checkpoint's own if None.
        orientation: Whether the training saw volumes turned to LPS ("canonical") or as stored.

    Raises:
        SegkitError: A file is missing, or the model is none that segkit runs.
    """
    for path in (checkpoint, plans, dataset):
        if not path.is_file():
            raise PlanError(f"{path} is missing; nnU-Net leaves it in its results folder.")
    content = load_checkpoint(checkpoint)
    configuration = configuration or content["init_args"]["configuration"]
    plan = from_nnunet(
        json.loads(plans.read_text(encoding="utf-8")),
        json.loads(dataset.read_text(encoding="utf-8")),
        configuration,
        orientation,
    )
    plan.source["trainer"] = str(content.get("trainer_name", "unknown"))
    plan.source["epochs"] = str(content.get("current_epoch", "unknown"))
    save_model(out, plan, without_aliases(content["network_weights"]))


def load_checkpoint(checkpoint: Path) -> dict[str, Any]:
    """A checkpoint's content, opened with torch's restricted unpickler.

    Raises:
        PlanError: It is no checkpoint of nnU-Net v2 that can be opened safely.
    """
    try:
        with torch.serialization.safe_globals(_PLAIN_VALUES):
            content = torch.load(checkpoint, map_location="cpu", weights_only=True)
        missing = {"network_weights", "init_args"} - content.keys() or {"configuration"} - content[
            "init_args"
        ].keys()
        if missing:
            raise KeyError(f"it has no {sorted(missing)[0]}")
    except (pickle.UnpicklingError, RuntimeError, AttributeError, KeyError, TypeError) as error:
        raise PlanError(
            f"{checkpoint} is no checkpoint of nnU-Net v2 that can be opened safely: {error}"
        ) from error
    return content


def without_aliases(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """nnU-Net's state dict with each tensor under one name only."""
    return {
        name.removeprefix("module.").removeprefix("_orig_mod."): value
        for name, value in state.items()
        if ".all_modules." not in name and "decoder.encoder." not in name
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description="nnU-Net v2 checkpoint to float16 safetensors and a plan")
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--plans", type=Path, required=True, help="nnU-Net's plans.json")
    parser.add_argument("--dataset", type=Path, required=True, help="nnU-Net's dataset.json")
    parser.add_argument("--configuration", help="default: the checkpoint's own")
    parser.add_argument("--orientation", choices=["canonical", "stored"], default="stored")
    parser.add_argument("--out", type=Path, required=True, help="model folder to write")
    options = parser.parse_args()
    return run_program(lambda: convert(**vars(options)))


if __name__ == "__main__":
    sys.exit(main())
