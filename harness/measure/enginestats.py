"""Measure a container by the engine's own statistics, where its cgroup cannot be read: samples only."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from harness.measure.cgroup import MemorySample, PeakMethod
from harness.measure.working_set import WorkingSetMethod, file_cache_bytes


class EngineStats:
    """Reads `GET /containers/ID/stats` of the Docker Engine API."""

    def __init__(self, read: Callable[[], Mapping[str, Any]]) -> None:
        self._read = read
        self._cpu_s: float | None = None

    def memory(self) -> MemorySample | None:
        """Return the usage now. The API hands on the cgroup's own fields, named after its version."""
        answer = self._read()
        cpu = (answer.get("cpu_stats") or {}).get("cpu_usage") or {}
        if cpu.get("total_usage"):
            self._cpu_s = int(cpu["total_usage"]) / 1e9
        memory = answer.get("memory_stats") or {}
        if "usage" not in memory:
            return None
        usage, details = int(memory["usage"]), memory.get("stats") or {}
        cache = file_cache_bytes(details, 1 if "total_cache" in details else 2)
        return MemorySample(usage, max(0, usage - cache))

    def cpu_s(self) -> float | None:
        """Return the CPU time at the last sample."""
        return self._cpu_s

    def throttled_s(self) -> float | None:
        """Not asked for."""
        return None

    def oom_kills(self) -> int | None:
        """Not told; the engine's own flag decides."""
        return None

    def pids(self) -> list[int]:
        """Not known: they are numbered on another host, or in a namespace of the engine's."""
        return []

    def working_set_peak(self) -> tuple[int, WorkingSetMethod] | None:
        """Not kept: the largest sample is a lower bound."""
        return None

    def peak(self) -> tuple[int, PeakMethod] | None:
        """Not kept: the largest sample is a lower bound."""
        return None
