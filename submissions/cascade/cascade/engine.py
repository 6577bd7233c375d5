"""Running a network through OpenVINO, which is two to four times as fast as torch on a CPU."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import openvino
import torch
from segkit.engine import usable_cpus
from torch import nn


def export_openvino(network: nn.Module, tile: tuple[int, int, int], path: Path) -> None:
    """Write a network as OpenVINO IR: an .xml beside a .bin of float16 weights.

    Args:
        network: Takes (1, 1, z, y, x), returns (1, class, z, y, x).
        tile: The fixed input size (z, y, x). A fixed size lets the compiler choose memory layouts.
        path: Where to; the name ends in .xml.
    """
    network = network.eval()
    example = torch.zeros(1, 1, *tile)
    with torch.no_grad(), warnings.catch_warnings():
        # That tracing fixes the sizes is what is wanted here.
        warnings.simplefilter("ignore")
        # Traced here, because OpenVINO's own tracing runs the network many times over.
        traced = torch.jit.trace(network, example, check_trace=False)
        model = openvino.convert_model(traced, example_input=example, input=[1, 1, *tile])
    path.parent.mkdir(parents=True, exist_ok=True)
    openvino.save_model(model, path, compress_to_fp16=True)


class OpenVinoEngine:
    """A network on the CPU through OpenVINO; has the interface of `segkit.engine.Engine`.

    Args:
        path: The .xml that `export_openvino` wrote.
        threads: CPU threads; what this process may use if None.
        precision: "f32" or "bf16". bf16 is only asked for where the processor has it.
        cache: Folder with kernels compiled earlier; OpenVINO writes there if it may, or reads only.
    """

    def __init__(
        self, path: Path, *, threads: int | None = None, precision: str = "f32", cache: Path | None = None
    ):
        core = openvino.Core()
        settings = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads or usable_cpus(),
            "INFERENCE_PRECISION_HINT": precision,
        }
        if cache is not None:
            settings["CACHE_DIR"] = str(cache)
        self.compiled = core.compile_model(str(path), "CPU", settings)
        self.request = self.compiled.create_infer_request()

    def logits(self, tile: np.ndarray) -> np.ndarray:
        """Logits (class, z, y, x), float32, of a normalised float32 tile (z, y, x).

        The array is the engine's own buffer: it is overwritten by the next call.
        """
        self.request.infer([np.ascontiguousarray(tile, dtype=np.float32)[None, None]])
        return self.request.get_output_tensor(0).data[0]
