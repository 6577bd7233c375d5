"""What a case is run by: rules that travel, places of one host, and instruments made where it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.challenge import Contract, Limits
from harness.data.dataset import Case
from harness.engine.base import ContainerEngine
from harness.gate.keeper import Gatekeeper
from harness.measure.cgroup import Hierarchy, MemorySample, PeakMethod
from harness.results.records import OptOuts

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
        cpuset: Cores that containers stay on, `0-3`; empty for all.
        gpu: UUID of the GPU to attach.
        gpu_free_bytes: Device memory that its area does not count.
    """

    run: str
    image: str
    limits: Limits
    contract: Contract
    opt_outs: OptOuts
    secret: str
    owner: tuple[int, int]
    label: str
    cpuset: str = ""
    gpu: str | None = None
    gpu_free_bytes: int = 0


@dataclass(frozen=True)
class Job:
    """One case to run, as plain data: an executor may send it to another process or machine."""

    case: Case
    attempt: int
    rules: Rules


@dataclass(frozen=True)
class Places:
    """Folders of the host that runs a case.

    Attributes:
        work: Where stages are made.
        cache: Where scrubbed inputs are kept.
        folder: The run's folder.
        can_give_away: Whether the harness may chown an output folder to the containers' owner.
    """

    work: Path
    cache: Path
    folder: Path
    can_give_away: bool

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
    """

    engine: ContainerEngine
    gatekeeper: Gatekeeper
    hierarchy: Hierarchy | None = None
    gpu: GpuMeter | None = None


@dataclass(frozen=True)
class Bench:
    """Where jobs are run: one host's places and instruments."""

    places: Places
    instruments: Instruments
