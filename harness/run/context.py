"""What a case is run by: rules that travel, places of one host, and instruments made where it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.challenge import Contract, Limits
from harness.data.dataset import Case
from harness.engine.base import ContainerEngine, Declared
from harness.gate.keeper import Gatekeeper
from harness.measure.cgroup import Hierarchy, MemorySample, PeakMethod
from harness.measure.working_set import WorkingSetMethod
from harness.results.records import OptOuts
from harness.run.watchdog import Watchdog

RUN_LABEL = "flareharness.results"
"""Label of our containers; its value names the results folder that they work for."""


@dataclass(frozen=True)
class Rules:
    """What holds for every case of a run: plain data, the same on whatever machine a case runs.

    Attributes:
        run: The run's name.
        image: The pinned image id.
        secret: Makes opaque names that say nothing; never leaves the harness.
        owner: uid and gid of the containers.
        label: Value of `RUN_LABEL`.
        cpusets: Cores that the container in each slot stays on, `0,1`; empty for all.
        image_environment: What the image sets, `NAME=value`.
        declared: The image's volumes, once they were copied.
        tmp_by_engine: See `ContainerSpec`.
        passwd: The image's /etc/passwd with a line for `owner`; empty where the image names that user, or
            has no such file.
        runtime: The OCI runtime; empty for the engine's default.
        gpu: UUID of the GPU to attach.
        gpu_free_bytes: Device memory that its area does not count.
        server: The argv of an image that serves HTTP and is called; empty for one that runs once and ends.
    """

    run: str
    image: str
    limits: Limits
    contract: Contract
    opt_outs: OptOuts
    secret: str
    owner: tuple[int, int]
    label: str
    cpusets: tuple[str, ...] = ()
    image_environment: tuple[str, ...] = ()
    declared: tuple[Declared, ...] = ()
    tmp_by_engine: bool = False
    passwd: bytes = b""
    runtime: str = ""
    gpu: str | None = None
    gpu_free_bytes: int = 0
    server: tuple[str, ...] = ()

    @property
    def tmp_bytes(self) -> int:
        """The size that /tmp gets."""
        return min(self.limits.tmp_bytes, self.limits.memory_bytes)


@dataclass(frozen=True)
class Job:
    """One case to run, as plain data: an executor may send it to another process or machine.

    Attributes:
        slot: Which of the places beside each other it runs in, from 0; none else runs there.
    """

    case: Case
    attempt: int
    rules: Rules
    slot: int = 0


@dataclass(frozen=True)
class Places:
    """Folders of the host that runs a case.

    Attributes:
        results: The results folder.
        cache: Where scrubbed inputs are kept.
        folder: The run's folder.
        can_give_away: Whether the harness may chown an output folder to the containers' owner.
        template: The empty file system that each container's output lies in a copy of; None where this
            host offers none, and what is written is counted instead.
    """

    results: Path
    cache: Path
    folder: Path
    can_give_away: bool
    template: Path | None = None

    @property
    def work(self) -> Path:
        """Where stages are made."""
        return self.results / ".work"

    def kept(self, case: str) -> Path:
        """Return the folder of what stays of a case."""
        return self.folder / "cases" / case


class Meter(Protocol):
    """Measures one container's memory and CPU; see `harness.measure.cgroup.CaseCgroup`."""

    def memory(self) -> MemorySample | None:
        """Usage now."""

    def cpu_s(self) -> float | None:
        """CPU time so far."""

    def throttled_s(self) -> float | None:
        """Time held back by the quota so far."""

    def oom_kills(self) -> int | None:
        """Processes killed for memory so far."""

    def peak(self) -> tuple[int, PeakMethod] | None:
        """The most memory ever used, where the kernel keeps it."""

    def working_set_peak(self) -> tuple[int, WorkingSetMethod] | None:
        """The most memory ever used without the cache of files, where the kernel lets it be told."""

    def pids(self) -> list[int]:
        """Its processes, as this host numbers them; the first one first; empty where they are unknown."""


class GpuMeter(Protocol):
    """Measures one container's device memory; see `harness.measure.gpu`."""

    method: str

    def note_baseline(self) -> None:
        """Remember what is in use before the container starts."""

    def used_bytes(self, owns: Callable[[int], bool]) -> int | None:
        """Device memory of the processes that `owns` says are the container's."""


@dataclass(frozen=True)
class Instruments:
    """What runs, measures and judges a case; made on the machine that runs it.

    Attributes:
        gatekeeper: Reads what a container wrote.
        hierarchy: The host's cgroups, where they can be read.
        gpu: Measures device memory, where a GPU is attached.
        watchdog: Ends containers if this process is killed.
    """

    engine: ContainerEngine
    gatekeeper: Gatekeeper
    hierarchy: Hierarchy | None = None
    gpu: GpuMeter | None = None
    watchdog: Watchdog | None = None


@dataclass(frozen=True)
class Bench:
    """Where jobs are run: one host's places and instruments."""

    places: Places
    instruments: Instruments
