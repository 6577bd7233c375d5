"""A network in OpenVINO: several times as fast as torch on an ordinary CPU, and started without torch.

The network comes as OpenVINO's intermediate representation (IR), which `segkit.export` and
`segkit.quantise` write. It is compiled for one size of tile at a time, which takes some tenths of a second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from segkit.cpu import usable_cpus
from segkit.errors import PlanError
from segkit.forms import FLOAT_IR, INT8_IR

Precision = Literal["int8", "bf16", "f32"]


class OpenVINOEngine:
    """A network's IR on the CPU."""

    def __init__(self, ir: Path, *, bfloat16: bool = False, threads: int | None = None):
        """Read an IR.

        Args:
            ir: The .xml file; its .bin lies beside it.
            bfloat16: Multiply in bfloat16 what is not quantised, where the CPU can; float32 otherwise.
            threads: CPU threads; what this process may use if None.

        Raises:
            PlanError: The file is missing or no IR.
        """
        import openvino  # only where it is used: the CUDA image has none

        if not ir.is_file() or not ir.with_suffix(".bin").is_file():
            raise PlanError(f"{ir} or its .bin is missing; make it with python -m segkit.export {ir.parent}.")
        self._core = openvino.Core()
        try:
            self._model = self._core.read_model(ir)
        except RuntimeError as error:
            raise PlanError(f"{ir} is no OpenVINO network: {str(error).splitlines()[-1]}") from error
        self._options = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or usable_cpus(),
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        }
        self._shape: tuple[int, ...] = ()
        self._request: Any = None

    def compile(self, shape: tuple[int, ...]) -> None:
        """Make ready for tiles (z, y, x) of a size; `logits` does it by itself where it was not done."""
        self._compile((1, 1, *shape))

    def _compile(self, shape: tuple[int, ...]) -> None:
        if shape == self._shape:
            return
        self._request = None  # frees the memory of the last size first
        model = self._model.clone()
        model.reshape([*shape])
        self._request = self._core.compile_model(model, "CPU", self._options).create_infer_request()
        self._shape = shape

    def logits(self, tile: np.ndarray) -> np.ndarray:
        """Logits (class, z, y, x) of a tile (z, y, x)."""
        return self.batch(tile[None, None])[0]

    def batch(self, tiles: np.ndarray) -> np.ndarray:
        """Logits (n, class, ...) of tiles (n, channel, ...)."""
        self._compile(tiles.shape)
        self._request.infer([np.ascontiguousarray(tiles, dtype=np.float32)], share_inputs=True)
        return self._request.get_output_tensor(0).data


def load_engine(folder: Path, precision: Precision, *, threads: int | None = None) -> OpenVINOEngine:
    """The engine for a model folder.

    Args:
        folder: Holds the IR.
        precision: "int8" needs the quantised IR; "bf16" and "f32" run the other one.
        threads: CPU threads; what this process may use if None.

    Raises:
        PlanError: The IR is missing or damaged.
    """
    if precision == "int8":
        return OpenVINOEngine(folder / INT8_IR, threads=threads)
    return OpenVINOEngine(folder / FLOAT_IR, bfloat16=precision == "bf16", threads=threads)
