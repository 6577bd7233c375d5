"""Depthwise 3-D convolution whose backward pass is quick on a CPU.

Torch's own gradient of the weights of a depthwise Conv3d takes most of a training step on a CPU. It is
a correlation of the image with the gradient, which here becomes one matrix product per tap in plane: the
product of all slices of the one with all slices of the other holds the taps along z on its diagonals.
On a GPU the quickest of three ways is found by a short measurement.
In bfloat16 forward and backward together take a third (kernel 3) to a seventh (kernel 7) of the time.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

Kernel = tuple[int, int, int]


class DepthwiseConv3d(nn.Conv3d):
    """A convolution that keeps the size and gives each output channel input channels of its own.

    Output channel i sees the inputs from i * m on, m being channels_in / channels_out; kernels are odd.
    Its weights are those of `nn.Conv3d(channels_in, channels_out, kernel, groups=channels_out)`.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: Kernel):
        padding = tuple(size // 2 for size in kernel)
        super().__init__(channels_in, channels_out, kernel, padding=padding, groups=channels_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, channels_out, z, y, x) of (batch, channels_in, z, y, x)."""
        if not (self.training and torch.is_grad_enabled()):
            return super().forward(x)
        if x.device.type != "cpu":
            return quickest_on(self, x)(self, x)
        weight, bias = self.weight, self.bias
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
            x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
        inputs_each = self.in_channels // self.out_channels
        result = bias[None, :, None, None, None]
        for number in range(inputs_each):
            image, taps = x[:, number::inputs_each], weight[:, number : number + 1]
            if self.kernel_size == (1, 1, 1):
                result = torch.addcmul(result, image, taps[None, :, 0])
            else:
                result = result + _Depthwise.apply(image, taps)
        return result


Way = Callable[["DepthwiseConv3d", torch.Tensor], torch.Tensor]


def as_convolution(layer: DepthwiseConv3d, x: torch.Tensor) -> torch.Tensor:
    """What torch does."""
    return nn.Conv3d.forward(layer, x)


def as_slices(layer: DepthwiseConv3d, x: torch.Tensor) -> torch.Tensor:
    """A 2-D convolution of all slices for each tap along z; their sum, shifted."""
    batch, channels, depth, height, width = x.shape
    taps, pad_y, pad_x = layer.kernel_size[0], *(size // 2 for size in layer.kernel_size[1:])
    slices = x.transpose(1, 2).reshape(batch * depth, channels, height, width)
    # Channels are in groups; one convolution does all taps, with its outputs tap after tap.
    weight = layer.weight.permute(0, 2, 1, 3, 4).flatten(0, 1)
    moved = functional.conv2d(slices, weight, padding=(pad_y, pad_x), groups=layer.out_channels)
    moved = moved.view(batch, depth, layer.out_channels, taps, height, width)
    moved = functional.pad(moved, (0, 0, 0, 0, 0, 0, 0, 0, taps // 2, taps // 2))
    total = layer.bias.view(1, 1, -1, 1, 1)
    for tap in range(taps):
        total = total + moved[:, tap : tap + depth, :, tap]
    return total.transpose(1, 2)


def as_products(layer: DepthwiseConv3d, x: torch.Tensor) -> torch.Tensor:
    """The sum of shifted images, each times its tap; good for few taps and a compiler that fuses them."""
    inputs_each = layer.in_channels // layer.out_channels
    weight, bias = layer.weight, layer.bias
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, weight, bias = x.to(dtype), weight.to(dtype), bias.to(dtype)
    pad_z, pad_y, pad_x = (size // 2 for size in layer.kernel_size)
    padded = functional.pad(x, (pad_x, pad_x, pad_y, pad_y, pad_z, pad_z))
    depth, height, width = x.shape[2:]
    total = bias.view(1, -1, 1, 1, 1)
    for number in range(inputs_each):
        image = padded[:, number::inputs_each]
        for z, y, x_tap in itertools.product(*map(range, layer.kernel_size)):
            tap = weight[None, :, number, z, y, x_tap, None, None, None]
            total = total + tap * image[:, :, z : z + depth, y : y + height, x_tap : x_tap + width]
    return total


WAYS: tuple[Way, ...] = (as_convolution, as_slices, as_products)
_MOST_PRODUCTS = 27
_quickest: dict[tuple[object, ...], Way] = {}


def quickest_on(layer: DepthwiseConv3d, x: torch.Tensor) -> Way:
    """The quickest way for a layer of this kind and an image of this size, measured once on its device.

    Torch's depthwise Conv3d is many times slower on a GPU than the same sum done otherwise, the gradient
    of its weights most of all; which way is best depends on the kernel and on the card.
    """
    key = (layer.kernel_size, layer.in_channels, layer.out_channels, tuple(x.shape), x.device.type)
    if key not in _quickest:
        if torch.compiler.is_compiling():
            return as_convolution
        ways = [
            way for way in WAYS if way is not as_products or math.prod(layer.kernel_size) <= _MOST_PRODUCTS
        ]
        _quickest[key] = min(ways, key=lambda way: _seconds(way, layer, x.detach()))
    return _quickest[key]


def _seconds(way: Way, layer: DepthwiseConv3d, x: torch.Tensor) -> float:
    weights = (layer.weight, layer.bias)
    best = math.inf
    for _ in range(4):
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        image = x.clone().requires_grad_()
        torch.autograd.grad(way(layer, image).float().sum(), (image, *weights))
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return best


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return _same(x, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        of_x = _same(gradient, weight.flip(2, 3, 4))
        of_weight = weight_gradient(x, gradient, (weight.shape[2], weight.shape[3], weight.shape[4]))
        return of_x, of_weight.to(weight.dtype)


def weight_gradient(x: torch.Tensor, gradient: torch.Tensor, kernel: Kernel) -> torch.Tensor:
    """The gradient of a depthwise convolution's weights, at least float32, shape (channel, 1, *kernel).

    Args:
        x: The input, (batch, channel, z, y, x).
        gradient: The gradient of the output, of the same shape.
        kernel: Size of the kernel (z, y, x), odd.
    """
    channels, (depth, height, width) = x.shape[1], x.shape[2:]
    total = torch.zeros(channels, *kernel, dtype=torch.promote_types(x.dtype, torch.float32))
    pad_z, pad_y, pad_x = (size // 2 for size in kernel)
    padded = functional.pad(x, (pad_x, pad_x, pad_y, pad_y, pad_z, pad_z))
    for sample, its_gradient in zip(padded, gradient, strict=True):
        slices = its_gradient.reshape(channels, depth, height * width).transpose(1, 2)
        for column in range(kernel[2]):
            # Copied once per column: shifts by whole rows are views of that.
            rows = sample[..., column : column + width].flatten(2)
            for row in range(kernel[1]):
                shifted = rows[:, :, row * width : (row + height) * width]
                products = torch.bmm(shifted, slices)
                for tap in range(kernel[0]):
                    diagonal = torch.diagonal(products[:, tap : tap + depth], dim1=1, dim2=2)
                    total[:, tap, row, column] += diagonal.to(total.dtype).sum(dim=1)
    return total[:, None]


def _same(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    padding = [size // 2 for size in weight.shape[2:]]
    return functional.conv3d(x, weight, padding=padding, groups=x.shape[1])
