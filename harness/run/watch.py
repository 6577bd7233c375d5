"""Watch a running container: sample it, and kill it at a limit."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from harness.engine.base import Container
from harness.errors import InfrastructureError
from harness.measure.descriptors import host_open_files, open_files
from harness.measure.scratch import ScratchMemory
from harness.measure.sockets import netlink_bytes
from harness.measure.timeline import Sample, Timeline
from harness.run.context import GpuMeter, Meter, Rules
from harness.run.outcome import NETLINK_BYTES_LIMIT, OPEN_FILES_LIMIT, Stop
from harness.run.stage import Stage
from harness.run.writing import Writing

SAMPLE_INTERVAL_S = 0.1
KILL_PATIENCE_S = 30.0


class Interrupted(Exception):
    """The run is being stopped; the case that was running leaves no record."""


@dataclass
class Watched:
    """What the watch over a running container gathered.

    Attributes:
        full: Scratch folders in memory that were full at some moment, and their sizes in bytes.
    """

    timeline: Timeline
    run_s: float = 0.0
    stop: Stop | None = None
    stop_value: float | None = None
    oom_kills: int = 0
    full: dict[str, int] = field(default_factory=dict)
    throttled_s: float | None = None


class Watch:
    """The watch over one container: samples it until it is gone, and kills it at a limit.

    Args:
        container: About to run.
        meter: Measures it.
        rules: The run's.
        stage: The case's folders.
        before_bytes: What they held before it was started.
        scratch: Its folders in memory.
        gpu: Measures device memory, where a GPU is attached.
        kernel_enforces: False where only this watch keeps memory to its limit.
    """

    def __init__(
        self,
        container: Container,
        meter: Meter,
        rules: Rules,
        stage: Stage,
        *,
        before_bytes: int,
        scratch: ScratchMemory,
        gpu: GpuMeter | None,
        kernel_enforces: bool,
    ) -> None:
        self._container = container
        self._meter = meter
        self._limits = rules.limits
        self._gpu = gpu
        self._kernel_enforces = kernel_enforces
        self._writing = Writing(
            stage,
            container,
            meter,
            before_bytes=before_bytes,
            writable_root=rules.opt_outs.writable_root,
        )
        self._files_before = host_open_files()
        self._first_pid = next(iter(meter.pids()), None) if kernel_enforces else None
        self._scratch = scratch
        self._watched = Watched(Timeline())

    def until_gone(self, started: float, stopping: threading.Event) -> Watched:
        """Sample until the container is gone, and kill it at a limit.

        Args:
            started: `time.monotonic()` of the moment from which it ran.
            stopping: Set from another thread to kill it and give up.

        Raises:
            Interrupted: `stopping` was set.
            InfrastructureError: the engine went away, or the container does not die.
        """
        self._run(started, stopping)
        self._scratch.look()
        self._watched.full = self._scratch.full
        if stopping.is_set():
            raise Interrupted
        return self._watched

    def _run(self, started: float, stopping: threading.Event) -> None:
        watched, container = self._watched, self._container
        deadline = started + self._limits.time_s
        killed_at: float | None = None
        next_sample = time.monotonic()
        while True:
            now = time.monotonic()
            if now >= next_sample:
                self._sample(max(0.0, now - started), look_for_limits=killed_at is None)
                next_sample = max(next_sample + SAMPLE_INTERVAL_S, time.monotonic())
            if now >= deadline and watched.stop is None:
                watched.stop = Stop.TIME
            if killed_at is None and (watched.stop is not None or stopping.is_set()):
                container.kill()
                killed_at = time.monotonic()
            if killed_at is not None and time.monotonic() - killed_at > KILL_PATIENCE_S:
                raise InfrastructureError("a container does not die", where=container.id)
            wake = next_sample if killed_at is not None else min(next_sample, deadline)
            if container.wait(max(0.0, wake - time.monotonic())):
                break
        watched.run_s = max(0.0, (container.gone_at() or time.monotonic()) - started)

    def _sample(self, t_s: float, *, look_for_limits: bool) -> None:
        watched, meter = self._watched, self._meter
        memory = meter.memory()
        self._scratch.look()
        gpu = self._gpu.used_bytes(self._container.owns) if self._gpu is not None else None
        watched.oom_kills = max(watched.oom_kills, meter.oom_kills() or 0)
        throttled = meter.throttled_s()
        watched.throttled_s = throttled if throttled is not None else watched.throttled_s
        sample = Sample(
            t_s=t_s,
            memory_bytes=memory.usage_bytes if memory else None,
            working_set_bytes=memory.working_set_bytes if memory else None,
            cpu_s=meter.cpu_s(),
            gpu_memory_bytes=gpu,
            output_bytes=self._writing.look(),
        )
        watched.timeline.add(sample)
        if look_for_limits:
            watched.stop, watched.stop_value = self._limit_reached(sample)

    def _limit_reached(self, sample: Sample) -> tuple[Stop | None, float | None]:
        limits = self._limits
        stop, value = self._writing.limit_reached(limits.output_bytes)
        if stop is not None:
            return stop, value
        gpu, memory = sample.gpu_memory_bytes, sample.memory_bytes
        if gpu is not None and limits.gpu_memory_bytes is not None and gpu > limits.gpu_memory_bytes:
            return Stop.GPU_MEMORY, gpu
        if not self._kernel_enforces and memory is not None and memory > limits.memory_bytes:
            return Stop.MEMORY, memory
        if self._first_pid is not None and (held := netlink_bytes(self._first_pid)) > NETLINK_BYTES_LIMIT:
            return Stop.NETLINK, held
        return self._files_reached()

    def _files_reached(self) -> tuple[Stop | None, float | None]:
        """Bound open files over all processes: the kernel bounds them for each, and must close them all."""
        if host_open_files() - self._files_before > OPEN_FILES_LIMIT:
            mine = open_files(self._meter.pids())
            if mine > OPEN_FILES_LIMIT:
                return Stop.OPEN_FILES, mine
        return None, None
