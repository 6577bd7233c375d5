"""A network in torch: the engine for a GPU, and the yardstick for the others."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from segkit.cpu import cpu_multiplies_bfloat16, usable_cpus


class TorchEngine:
    """The network in torch."""

    def __init__(
        self,
        network: nn.Module,
        *,
        device: str = "cpu",
        bfloat16: bool | None = None,
        threads: int | None = None,
    ):
        """Take a network.

        Args:
            network: The network; moved to the device.
            device: "cpu" or "cuda".
            bfloat16: Multiply in bfloat16 where the device can, or in float32; if None, in bfloat16 on a GPU
                and in float32 on the CPU.
            threads: CPU threads; what this process may use if None.
        """
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        wanted = self.device.type == "cuda" if bfloat16 is None else bfloat16
        self.bfloat16 = wanted and multiplies_bfloat16(self.device)
        if self.device.type == "cuda":
            torch.backends.cudnn.benchmark = True  # every tile has the same size
            if bfloat16 is False:
                torch.backends.cudnn.allow_tf32 = False  # its factors are no more exact than float16
        torch.set_num_threads(threads or usable_cpus())

    def logits(self, tile: np.ndarray) -> np.ndarray:
        """Logits (class, z, y, x) of a tile (z, y, x)."""
        return self.batch(tile[None, None])[0]

    def batch(self, tiles: np.ndarray) -> np.ndarray:
        """Logits (n, class, ...), float32, of tiles (n, channel, ...)."""
        with torch.inference_mode():
            images = torch.from_numpy(np.ascontiguousarray(tiles)).to(self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                return self.network(images).float().cpu().numpy()


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device has bfloat16 arithmetic."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return cpu_multiplies_bfloat16()


def best_device() -> str:
    """The GPU where torch sees one, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"
