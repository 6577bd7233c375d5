"""What runs the network on one tile: the protocol, and the choice among the engines."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from segkit.errors import PlanError
from segkit.forms import FLOAT_IR, INT8_IR

if TYPE_CHECKING:
    from torch import nn

NAMES = ("fastest", "int8", "bf16", "f32", "torch")


class Engine(Protocol):
    """Anything that turns a tile into logits."""

    def logits(self, tile: np.ndarray) -> np.ndarray:
        """Logits (class, z, y, x), float32, of a normalised float32 tile (z, y, x).

        The array may be overwritten by the caller and is valid until the next call.
        """
        ...

    def batch(self, tiles: np.ndarray) -> np.ndarray:
        """Logits (n, class, ...), float32, of normalised float32 tiles (n, channel, ...); likewise."""
        ...


@dataclass(frozen=True)
class Network:
    """A trained network in the forms that engines run; those of OpenVINO may be missing.

    Attributes:
        in_torch: Builds it in torch and gives it its weights.
        float_ir: OpenVINO's form, an .xml file.
        int8_ir: That in 8-bit integers.
    """

    in_torch: Callable[[], nn.Module]
    float_ir: Path
    int8_ir: Path


def open_engine(folder: Path, name: str) -> Engine:
    """The engine that a setting names, for a model folder.

    Args:
        folder: The model folder.
        name: As in `open_network`.

    Raises:
        PlanError: What the engine runs is missing or damaged.
    """
    return open_network(network_in(folder), name)


def network_in(folder: Path) -> Network:
    """The network of a model folder."""

    def in_torch() -> nn.Module:
        from segkit.model import load_model

        return load_model(folder)[1]

    return Network(in_torch, folder / FLOAT_IR, folder / INT8_IR)


def open_network(network: Network, name: str, *, tile: tuple[int, int, int] | None = None) -> Engine:
    """The engine that a setting names, for a network.

    A GPU runs the network in torch. OpenVINO runs it on the CPU; where there is none, torch does.

    Args:
        network: The network.
        name: "fastest": bfloat16 on a GPU, else the fastest form that there is. "int8", "bf16", "f32": these
            numbers. "torch": torch, also where there is OpenVINO.
        tile: Make ready for tiles of this size (z, y, x); the first call does it otherwise.

    Raises:
        PlanError: There is no such engine, or what it runs is missing or damaged.
    """
    if name not in NAMES:
        raise PlanError(f"the engine is {name!r}; it must be one of {', '.join(NAMES)}.")
    by_torch = not has_openvino() or gpu_given()
    chosen = fastest(network) if name == "fastest" else name
    if chosen == "int8" and not has_openvino():
        raise PlanError("int8 needs OpenVINO, which is not installed; choose fastest, f32 or torch.")
    if chosen == "torch" or (by_torch and chosen != "int8"):
        # Importing torch takes longer than a small CT does.
        from segkit.torch_engine import TorchEngine, best_device

        # What is said of numbers holds; otherwise those are taken that the device is quick with.
        bfloat16 = {"bf16": True, "f32": False}.get(chosen)
        return TorchEngine(network.in_torch(), device=best_device(), bfloat16=bfloat16)
    from segkit.openvino_engine import OpenVINOEngine

    ir = network.int8_ir if chosen == "int8" else network.float_ir
    engine = OpenVINOEngine(ir, bfloat16=chosen == "bf16")
    if tile is not None:
        engine.compile(tile)
    return engine


def fastest(network: Network) -> str:
    """The name of the fastest engine that there is for a network here."""
    if not has_openvino() or gpu_given():
        return "torch"
    if network.int8_ir.is_file():
        return "int8"
    return "f32" if network.float_ir.is_file() else "torch"


def has_openvino() -> bool:
    """Whether OpenVINO is installed: the runtime image for CUDA has none."""
    return importlib.util.find_spec("openvino") is not None


def gpu_given() -> bool:
    """Whether torch has a GPU to use; torch is imported only where the system shows one."""
    if not any(path.exists() for path in _GPU_DEVICES):
        return False
    from segkit.torch_engine import best_device

    return best_device() != "cpu"


# What NVIDIA's driver makes, natively and under Windows.
_GPU_DEVICES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
