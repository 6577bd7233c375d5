"""Where the time of a case goes."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Profile:
    """Adds up wall time and processor time by stage; stages may be entered again."""

    def __init__(self) -> None:
        """Start with nothing."""
        self.wall_s: dict[str, float] = {}
        self.cpu_s: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time what runs inside."""
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - wall, time.process_time() - cpu)

    def add(self, name: str, wall_s: float, cpu_s: float) -> None:
        """Add to a stage."""
        self.wall_s[name] = self.wall_s.get(name, 0.0) + wall_s
        self.cpu_s[name] = self.cpu_s.get(name, 0.0) + cpu_s

    def clear(self) -> None:
        """Begin anew, for the next case."""
        self.wall_s.clear()
        self.cpu_s.clear()

    def table(self) -> str:
        """One line per stage, in the order they came."""
        width = max([len(name) for name in self.wall_s], default=0)
        lines = [f"{'stage':{width}}   wall s  cpu s"]
        lines += [
            f"{name:{width}}  {wall:7.2f} {self.cpu_s[name]:6.2f}" for name, wall in self.wall_s.items()
        ]
        total = sum(self.wall_s.values())
        lines.append(f"{'all':{width}}  {total:7.2f} {sum(self.cpu_s.values()):6.2f}")
        return "\n".join(lines)


def since_process_start_s() -> float:
    """Seconds since the kernel started this process; zero where it cannot be told."""
    try:
        started_ticks = int(Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[19])
        uptime_s = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        return max(0.0, uptime_s - started_ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0
