"""How the network is run: number format, compilation, and memory layout, decided by short measurements."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from segkit.cpu import cpu_multiplies_bfloat16
from segkit.log import log
from segkit.training.phantoms.objective import deep_dice_and_cross_entropy

Logits = Callable[[nn.Module, torch.Tensor], list[torch.Tensor]]
_MEASURE_S = 5.0


def wants_bfloat16(
    network: nn.Module, logits: Logits, image: torch.Tensor, target: torch.Tensor, choice: str = "measure"
) -> bool:
    """Whether a step is quicker in bfloat16 on the image's device.

    A GPU that multiplies bfloat16 always is. A CPU without such instructions emulates it many times
    slower than float32, and is not asked; one with them is measured, five seconds in all.

    Args:
        network: The network; its gradients are left empty.
        logits: Calls it.
        image: A batch of patches.
        target: Their outputs.
        choice: "measure", or "yes" or "no" to leave that out.
    """
    if choice != "measure":
        return choice == "yes"
    if image.device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not cpu_multiplies_bfloat16():
        return False
    seconds = _seconds_per_step(network, logits, image, target)
    log.info(f"a step takes {seconds[True]:.2f} CPU seconds in bfloat16 and {seconds[False]:.2f} in float32")
    return seconds[True] < seconds[False]


def compiled(network: nn.Module, logits: Logits, image: torch.Tensor, bfloat16: bool) -> Logits:
    """`logits`, compiled by torch where the device is a GPU and that works; as it is otherwise.

    With the kernels of a pass as one CUDA graph where that works, else compiled alone.

    Args:
        network: The network.
        logits: Calls it.
        image: A batch of patches; every later one has its shape.
        bfloat16: Whether it runs in bfloat16.
    """
    if image.device.type != "cuda":
        return logits
    # Layers that choose their way by a measurement do so before they are compiled.
    with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
        logits(network, image)
    for mode in ("reduce-overhead", "default"):
        quick = _as_steps(torch.compile(logits, dynamic=False, mode=mode))
        try:
            for _ in range(3):  # a graph is recorded at the second pass
                with torch.autocast("cuda", torch.bfloat16, enabled=bfloat16):
                    sum(level.float().mean() for level in quick(network, image)).backward()
                network.zero_grad(set_to_none=True)
            torch.cuda.synchronize()
        except Exception as error:  # the compiler's faults are of any kind, and training goes on without it
            log.warning(f"torch.compile ({mode}) failed, training goes on without it: {error!r:.300}")
        else:
            return quick
        finally:
            network.zero_grad(set_to_none=True)
    return logits


def _as_steps(quick: Logits) -> Logits:
    """Tell torch where a step begins: a CUDA graph's outputs live until the next one."""

    def call(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
        torch.compiler.cudagraph_mark_step_begin()
        return quick(network, images)

    return call


class _NormOfOne(nn.InstanceNorm3d):
    """Instance norm that keeps the channels last for a batch of one, whose batch norm is the same."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if len(image) != 1:
            return super().forward(image)
        return functional.batch_norm(image, None, None, self.weight, self.bias, training=True, eps=self.eps)


def with_channels_last(network: nn.Module) -> nn.Module:
    """Lay the layers for volumes of a network out as the CPU's convolutions want it: its channels last.

    They then copy no images, which is a fifth of a step. Instance norm would copy them back and forth;
    its layers are replaced by ones that give the same. Names in the state dict stay.
    """
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.InstanceNorm3d):
                norm = _NormOfOne(child.num_features, child.eps, affine=child.affine)
                norm.weight, norm.bias = child.weight, child.bias
                setattr(module, name, norm)
    for module in network.modules():
        if isinstance(module, (nn.Conv3d, nn.ConvTranspose3d)):
            module.to(memory_format=torch.channels_last_3d)
    return network


def prepare_device(device: torch.device) -> None:
    """Let a GPU look for the quickest convolutions and multiply float32 as TF32."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_tf32 = True


def _seconds_per_step(
    network: nn.Module, logits: Logits, image: torch.Tensor, target: torch.Tensor
) -> dict[bool, float]:
    """The least CPU time of a step, in bfloat16 (True) and in float32, taken in turn.

    CPU time and not the clock's: other jobs on the machine would decide which is called the quicker.
    """
    best = {True: float("inf"), False: float("inf")}
    started = time.perf_counter()
    rounds = 0
    while rounds < 2 or time.perf_counter() - started < _MEASURE_S:
        for bfloat16 in best:
            before = time.process_time()
            with torch.autocast(image.device.type, torch.bfloat16, enabled=bfloat16):
                levels = logits(network, image)
            deep_dice_and_cross_entropy(levels, target).backward()
            network.zero_grad(set_to_none=True)
            best[bfloat16] = min(best[bfloat16], time.process_time() - before)
        rounds += 1
    return best
