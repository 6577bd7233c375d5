"""What runs the network on one tile."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from segkit.network import PlainConvUNet


class Engine(Protocol):
    """Anything that turns a tile into logits."""

    def logits(self, tile: np.ndarray) -> np.ndarray:
        """Logits (class, z, y, x), float32, of a normalised float32 tile (z, y, x)."""
        ...


class TorchEngine:
    """The network in torch, on the CPU or on a GPU, always in float32."""

    def __init__(self, network: PlainConvUNet, *, device: str = "cpu", threads: int | None = None):
        """Take a network.

        Args:
            network: The network; moved to the device.
            device: "cpu" or "cuda".
            threads: CPU threads; what this process may use if None.
        """
        self.device = torch.device(device)
        self.network = network.to(self.device).eval()
        torch.set_num_threads(threads or usable_cpus())

    def logits(self, tile: np.ndarray) -> np.ndarray:
        """Logits (class, z, y, x) of a tile (z, y, x)."""
        with torch.inference_mode():
            image = torch.from_numpy(np.ascontiguousarray(tile))[None, None].to(self.device)
            return self.network(image)[0].cpu().numpy()


def usable_cpus() -> int:
    """CPUs this process may use: its affinity, cut by the container's quota.

    More threads than the quota grants are not only useless: they are throttled together.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cpus()
    return max(1, min(count, round(quota))) if quota else count


def _cgroup_cpus() -> float | None:
    root = Path("/sys/fs/cgroup")
    try:
        if (root / "cpu.max").exists():
            quota, period = (root / "cpu.max").read_text().split()
        else:
            quota = (root / "cpu/cpu.cfs_quota_us").read_text()
            period = (root / "cpu/cpu.cfs_period_us").read_text()
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):
        return None
