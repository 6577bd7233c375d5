"""Measure a process and its descendants where there is no cgroup: samples, so lower bounds."""

from __future__ import annotations

import psutil

from harness.measure.cgroup import MemorySample, PeakMethod
from harness.measure.working_set import WorkingSetMethod


class ProcessTree:
    """A process and everything that descends from it."""

    def __init__(self, root_pid: int) -> None:
        self._root_pid = root_pid
        self._cpu_s: dict[tuple[int, float], float] = {}

    def processes(self) -> list[psutil.Process]:
        """Return the processes that are alive now."""
        try:
            root = psutil.Process(self._root_pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []

    def memory(self) -> MemorySample | None:
        """Return the sum of proportional set sizes, or of resident ones where the kernel hides those."""
        total = 0
        alive = False
        for process in self.processes():
            try:
                total += _proportional_bytes(process)
                spent = process.cpu_times()
                self._cpu_s[process.pid, process.create_time()] = spent.user + spent.system
                alive = True
            except psutil.Error:
                continue
        return MemorySample(total, total) if alive else None

    def cpu_s(self) -> float | None:
        """Return the CPU time of every process seen so far."""
        return sum(self._cpu_s.values()) if self._cpu_s else None

    def throttled_s(self) -> float | None:
        """Nothing throttles."""
        return None

    def oom_kills(self) -> int | None:
        """Not known."""
        return None

    def pids(self) -> list[int]:
        """Return the processes that are alive now."""
        return [process.pid for process in self.processes()]

    def working_set_peak(self) -> tuple[int, WorkingSetMethod] | None:
        """Not kept: the largest sample is a lower bound."""
        return None

    def peak(self) -> tuple[int, PeakMethod] | None:
        """Not kept by the kernel for a tree of processes."""
        return None


def _proportional_bytes(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)
