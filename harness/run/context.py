"""What all cases of a run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.challenge import Contract, Limits
from harness.engine.base import ContainerEngine
from harness.gate.keeper import Gatekeeper
from harness.measure.cgroup import Hierarchy, MemorySample, PeakMethod
from harness.results.records import OptOuts

RUN_LABEL = "flareharness.results"
"""Label of our containers; its value names the results folder that they work for."""


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
class RunContext:
    """What all cases of a run share.

    Attributes:
        image: The pinned image id.
        secret: Makes opaque names that say nothing; never leaves the harness.
        work: Where stages are made.
        cache: Where scrubbed inputs are kept.
        folder: The run's folder.
        owner: uid and gid of the containers.
        can_give_away: Whether the harness may chown the output folder to them.
        hierarchy: The host's cgroups, where they can be read.
        label: Value of `RUN_LABEL`.
        gpu: UUID of the GPU to attach.
    """

    engine: ContainerEngine
    run: str
    image: str
    limits: Limits
    contract: Contract
    opt_outs: OptOuts
    secret: str
    work: Path
    cache: Path
    folder: Path
    owner: tuple[int, int]
    can_give_away: bool
    hierarchy: Hierarchy | None
    label: str
    gatekeeper: Gatekeeper
    gpu: str | None = None
    gpu_meter: GpuMeter | None = None
    gpu_free_bytes: int = 0
    cpuset: str = ""
