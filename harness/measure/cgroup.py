"""Read a case's memory and CPU from the kernel's control groups, version 1 or 2.

Each case runs below a cgroup of ours. That one outlives the container, so the kernel's own peak and
totals can be read after the last process is gone.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness.measure.working_set import (
    OpenPeak,
    SwapCounter,
    WorkingSetMethod,
    WorkingSetPeak,
    file_cache_bytes,
)

PeakMethod = Literal["cgroup-v1-max-usage", "cgroup-v2-peak", "sampled-lower-bound"]


@dataclass(frozen=True)
class Hierarchy:
    """Where this host mounts its control groups.

    Attributes:
        version: 2 when the memory controller lives in the unified hierarchy.
        memory: Mount point of the hierarchy with the memory controller.
        cpu: The same for CPU quotas; on version 2 the same folder.
        cpuacct: The same for CPU time.
        others: Other mount points of a version 1 host, which hold empty groups to remove.
    """

    version: Literal[1, 2]
    memory: Path
    cpu: Path
    cpuacct: Path
    others: tuple[Path, ...] = ()


@dataclass(frozen=True)
class MemorySample:
    """Usage at one moment. The working set is usage without the cache of files."""

    usage_bytes: int
    working_set_bytes: int


def find_hierarchy(mountinfo: str | None = None) -> Hierarchy | None:
    """Return the host's cgroup hierarchy, or None where there is none to read.

    Args:
        mountinfo: The content of /proc/self/mountinfo; read from there by default.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(encoding="utf-8")
        except OSError:
            return None
    controllers: dict[str, Path] = {}
    unified: Path | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields, tail = before.split(), after.split()
        if len(fields) < 5 or len(tail) < 3:
            continue
        where = Path(fields[4].replace("\\040", " "))
        if tail[0] == "cgroup2" and unified is None:
            unified = where
        elif tail[0] == "cgroup":
            for option in tail[2].split(","):
                controllers.setdefault(option, where)
    if "memory" in controllers:
        memory = controllers["memory"]
        cpuacct = controllers.get("cpuacct", memory)
        cpu = controllers.get("cpu", cpuacct)
        used = {memory, cpuacct, cpu}
        others = {*controllers.values(), *([unified] if unified is not None else [])}
        return Hierarchy(1, memory, cpu, cpuacct, tuple(sorted(others - used)))
    if unified is not None:
        return Hierarchy(2, unified, unified, unified)
    return None


def parent_name(name: str, driver: str) -> str:
    """Return the cgroup parent to ask an engine for.

    Args:
        name: Lower-case letters and digits, unique to one container.
        driver: The engine's cgroup driver. systemd takes slice names only.
    """
    return f"flareharness-{name}.slice" if driver == "systemd" else f"/flareharness/{name}"


def remove_stale(hierarchy: Hierarchy, prefix: str) -> None:
    """Remove the cgroups that a killed harness left, where we may; those in use stay.

    Args:
        hierarchy: Where to look.
        prefix: Of the names given to `parent_name`; nobody else's may begin with it.
    """
    roots = {hierarchy.memory, hierarchy.cpu, hierarchy.cpuacct, *hierarchy.others}
    for root in roots:
        slices = f"flareharness.slice/flareharness-{prefix}*.slice"
        patterns = (f"flareharness/{prefix}*", slices, f"user.slice/user-*.slice/user@*.service/{slices}")
        for folder in (found for pattern in patterns for found in root.glob(pattern)):
            _remove(folder)


class CaseCgroup:
    """The parent cgroup of one case's container.

    Args:
        hierarchy: Where the host's cgroups are.
        parent: From `parent_name`.
        container_id: The engine's.
        user: The id of the user whose engine it is; None for root's.
    """

    def __init__(
        self, hierarchy: Hierarchy, parent: str, container_id: str = "", *, user: int | None = None
    ) -> None:
        self.hierarchy = hierarchy
        self.container_id = container_id
        # systemd nests a slice below the slices that its dashes name, and a user's below that user's manager.
        self._relative = f"flareharness.slice/{parent}" if parent.endswith(".slice") else parent.lstrip("/")
        if user is not None and parent.endswith(".slice"):
            self._relative = f"user.slice/user-{user}.slice/user@{user}.service/{self._relative}"
        self._working_set: WorkingSetPeak | None = None

    @property
    def exists(self) -> bool:
        """Whether the engine really put the container below our parent."""
        return (self.hierarchy.memory / self._relative).is_dir()

    def bound_sockets(self, limit_bytes: int, engine: str) -> bool:
        """Have the kernel count and bound what TCP and UDP sockets hold, before the container starts.

        Version 2 counts it in the memory limit. Version 1 has a counter apart, which counts only the sockets
        of processes whose own cgroup had a limit when they made them: so that cgroup is made here, under the
        name that the engine will look for.

        Args:
            limit_bytes: What sockets may hold on version 1, beside the memory limit.
            engine: `docker` or `podman`, which name a container's cgroup differently.

        Returns:
            Whether what sockets hold will be counted. On version 1 it takes root.
        """
        if self.hierarchy.version == 2:
            return True
        if self._relative.endswith(".slice"):
            name = f"{engine if engine == 'docker' else 'libpod'}-{self.container_id}.scope"
        else:
            name = self.container_id if engine == "docker" else f"libpod-{self.container_id}"
        folder = self.hierarchy.memory / self._relative / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "memory.kmem.tcp.limit_in_bytes").write_text(str(limit_bytes))
        except OSError:
            return False
        return True

    def _sockets(self, counter: str) -> int:
        """Return a reading of version 1's counter of socket buffers."""
        folder = self.hierarchy.memory / self._relative
        return _number(folder / f"memory.kmem.tcp.{counter}_in_bytes") or 0

    def memory(self) -> MemorySample | None:
        """Return the usage now, or None if the cgroup cannot be read."""
        folder, version = self.hierarchy.memory / self._relative, self.hierarchy.version
        usage = _number(folder / ("memory.usage_in_bytes" if version == 1 else "memory.current"))
        if usage is None:
            return None
        sockets = self._sockets("usage") if version == 1 else 0
        cache = file_cache_bytes(_table(folder / "memory.stat"), version)
        working_set = max(0, usage - cache)
        if self._working_set is None:
            self._working_set = WorkingSetPeak(SwapCounter(folder) if version == 1 else OpenPeak(folder))
        self._working_set.look(working_set_bytes=working_set, cache_bytes=cache)
        return MemorySample(usage + sockets, working_set + sockets)

    def working_set_peak(self) -> tuple[int, WorkingSetMethod] | None:
        """Return the largest working set since the first `memory()`, up to now; sockets as in `peak`."""
        self.memory()
        result = self._working_set.result if self._working_set is not None else None
        if result is None or self.hierarchy.version == 2:
            return result
        return result[0] + self._sockets("max_usage"), result[1]

    def cpu_s(self) -> float | None:
        """Return the CPU time used so far by everything that ever ran below the parent."""
        folder = self.hierarchy.cpuacct / self._relative
        if self.hierarchy.version == 1:
            nanoseconds = _number(folder / "cpuacct.usage")
            return None if nanoseconds is None else nanoseconds / 1e9
        microseconds = _table(folder / "cpu.stat").get("usage_usec")
        return None if microseconds is None else microseconds / 1e6

    def throttled_s(self) -> float | None:
        """Return how long the quota held tasks back; only while the container's own cgroup lives."""
        folder = self._own(self.hierarchy.cpu)
        if folder is None:
            return None
        table = _table(folder / "cpu.stat")
        if self.hierarchy.version == 1:
            return table["throttled_time"] / 1e9 if "throttled_time" in table else None
        return table["throttled_usec"] / 1e6 if "throttled_usec" in table else None

    def oom_kills(self) -> int | None:
        """Return how many processes the kernel killed for memory.

        Version 1 counts them in the victim's own cgroup, which goes with the container; version 2 adds
        them up in the parent.
        """
        if self.hierarchy.version == 2:
            return _table(self.hierarchy.memory / self._relative / "memory.events").get("oom_kill")
        folder = self._own(self.hierarchy.memory)
        return None if folder is None else _table(folder / "memory.oom_control").get("oom_kill")

    def peak(self) -> tuple[int, PeakMethod] | None:
        """Return the most memory ever in use below the parent, as the kernel counted it.

        Version 1 counts socket buffers apart, so the peaks of both are added: too much by what was not held
        at the same time, and exact where no socket was used.
        """
        folder = self.hierarchy.memory / self._relative
        if self.hierarchy.version == 1:
            peak = _number(folder / "memory.max_usage_in_bytes")
            return None if peak is None else (peak + self._sockets("max_usage"), "cgroup-v1-max-usage")
        peak = _number(folder / "memory.peak")
        return None if peak is None else (peak, "cgroup-v2-peak")

    def pids(self) -> list[int]:
        """Return the container's processes, its init first; empty once it is gone."""
        folder = self._own(self.hierarchy.memory)
        if folder is None:
            return []
        found: list[int] = []
        # Podman's runtimes put the processes one deeper on version 2.
        with contextlib.suppress(OSError, ValueError):
            for procs in (folder / "cgroup.procs", *sorted(folder.glob("*/cgroup.procs"))):
                found += map(int, procs.read_text().split())
        return found

    def remove(self) -> None:
        """Remove the empty cgroups of this case; needs root, and is no harm where it fails."""
        if self._working_set is not None:
            self._working_set.close()
        hierarchy = self.hierarchy
        for root in {hierarchy.memory, hierarchy.cpu, hierarchy.cpuacct, *hierarchy.others}:
            _remove(root / self._relative)

    def _own(self, root: Path) -> Path | None:
        folder = root / self._relative
        own = self.container_id
        names = (own, f"docker-{own}.scope", f"libpod-{own}", f"libpod-{own}.scope")
        return next((folder / name for name in names if name and (folder / name).is_dir()), None)


def _remove(folder: Path) -> None:
    """Remove a cgroup and the empty ones in it: Podman's monitor leaves one of its own."""
    with contextlib.suppress(OSError):
        for child in [path for path in folder.iterdir() if path.is_dir()]:
            child.rmdir()
        folder.rmdir()


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    try:
        rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
        return {row[0]: int(row[1]) for row in rows if len(row) == 2}
    except (OSError, ValueError):
        return {}
