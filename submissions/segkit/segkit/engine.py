"""What runs the network on one tile: the protocol, and how many CPUs there are for it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

import numpy as np


class Engine(Protocol):
    """Anything that turns a tile into logits."""

    def logits(self, tile: np.ndarray) -> np.ndarray:
        """Logits (class, z, y, x), float32, of a normalised float32 tile (z, y, x).

        The array may be overwritten by the caller and is valid until the next call.
        """
        ...


def open_engine(folder: Path, name: str) -> Engine:
    """The engine that a setting names, for a model folder.

    Args:
        folder: The model folder.
        name: "fastest", "int8", "bf16", "f32" or "torch".

    Raises:
        PlanError: What the engine runs is missing or damaged.
    """
    from segkit.openvino_engine import fastest, load_engine

    chosen = fastest(folder) if name == "fastest" else name
    if chosen != "torch":
        return load_engine(folder, chosen)
    # Importing torch takes longer than a small CT does.
    from segkit.model import load_model
    from segkit.torch_engine import TorchEngine, best_device

    return TorchEngine(load_model(folder)[1], device=best_device())


def usable_cpus() -> int:
    """CPUs this process may use: its affinity, cut by the container's quota.

    More threads than the quota grants are not only useless: they are throttled together.
    """
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_cpus()
    return max(1, min(count, round(quota))) if quota else count


def cpu_multiplies_bfloat16() -> bool:
    """Whether this CPU has bfloat16 arithmetic; emulated it is many times slower than float32."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


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
