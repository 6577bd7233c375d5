"""A network's weights, read back from its form in 8-bit integers, so that one form is enough to ship.

The IR of `segkit.quantise` names each layer as torch does and holds its kernels as integers with a scale for
each channel. Reading them needs neither OpenVINO nor NNCF: an IR is XML beside a file of constants
(OpenVINO's documentation, "Operation sets" and "IR format").
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import torch

from segkit.errors import PlanError

_NUMBERS = {"i8": np.int8, "u8": np.uint8, "f16": np.float16, "f32": np.float32}
# Which weight of a module an operation holds as its second input.
_HOLDS = {
    "_convolution/Convolution": "weight",
    "_convolution/ConvolutionBackpropData": "weight",
    "_convolution/Add": "bias",
    "instance_norm/Multiply": "weight",
    "instance_norm/Add": "bias",
}
_OPERATION = re.compile(rf"__module\.(?P<module>[\w.]+)/aten::(?P<holds>{'|'.join(_HOLDS)})")


def state_of_ir(path: Path) -> dict[str, torch.Tensor]:
    """The state dict of a network, float32, from its IR.

    What inference does not use, such as the heads of coarser stages, is not in an IR.

    Args:
        path: The .xml file; its .bin lies beside it.

    Raises:
        PlanError: A file is missing or damaged.
    """
    try:
        return _Graph(path).state()
    except (OSError, ElementTree.ParseError, LookupError, ValueError, TypeError) as error:
        raise PlanError(f"{path} is no network in 8-bit integers: {error!r}") from error


class _Graph:
    def __init__(self, path: Path):
        root = ElementTree.parse(path).getroot()
        self.layers = {layer.attrib["id"]: layer for layer in root.iterfind("layers/layer")}
        self.inputs: dict[str, list[str]] = {name: [] for name in self.layers}
        # In the order of the ports that they end in.
        for edge in sorted(root.iterfind("edges/edge"), key=lambda edge: int(edge.attrib["to-port"])):
            self.inputs[edge.attrib["to-layer"]].append(edge.attrib["from-layer"])
        self.constants = path.with_suffix(".bin").read_bytes()

    def state(self) -> dict[str, torch.Tensor]:
        state = {}
        for number, layer in self.layers.items():
            found = _OPERATION.fullmatch(layer.attrib["name"])
            if found is None:
                continue
            kind = _HOLDS[found["holds"]]
            value = self.value(self.inputs[number][1])
            if kind == "bias" or "norm" in found["holds"]:
                value = value.reshape(-1)
            state[f"{found['module']}.{kind}"] = torch.from_numpy(value)
        if not state:
            raise LookupError("it has no layer of a network")
        return state

    def value(self, number: str) -> np.ndarray:
        """What a layer that depends on no image gives, float32."""
        layer = self.layers[number]
        if layer.attrib["type"] == "Const":
            return self._constant(layer)
        inputs = [self.value(name) for name in self.inputs[number]]
        match layer.attrib["type"]:
            case "Convert" | "Reshape":
                return inputs[0]
            case "Subtract":
                return inputs[0] - inputs[1]
            case "Multiply":
                return inputs[0] * inputs[1]
        raise ValueError(f"{layer.attrib['name']} is a {layer.attrib['type']}")

    def _constant(self, layer: ElementTree.Element) -> np.ndarray:
        told = layer.find("data")
        if told is None:
            raise LookupError(f"{layer.attrib['name']} has no data")
        start, size = int(told.attrib["offset"]), int(told.attrib["size"])
        shape = [int(length) for length in told.attrib["shape"].split(",") if length.strip()]
        values = np.frombuffer(self.constants[start : start + size], _NUMBERS[told.attrib["element_type"]])
        return values.astype(np.float32).reshape(shape)
