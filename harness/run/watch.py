"""Watch a running container: sample it, and kill it at a limit."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path

from harness.challenge import Limits
from harness.engine.base import Container
from harness.errors import InfrastructureError
from harness.gate.harvest import Census, take_census
from harness.measure.timeline import Sample, Timeline
from harness.run.context import Meter, RunContext
from harness.run.outcome import OUTPUT_ENTRIES_LIMIT, Stop
from harness.run.stage import Stage

SAMPLE_INTERVAL_S = 0.1
KILL_PATIENCE_S = 30.0
_SCAN_SHARE = 0.02
_SIZE_INTERVAL_S = 1.0


class Interrupted(Exception):
    """The run is being stopped; the case that was running leaves no record."""


@dataclass
class Watched:
    """What the watch over a running container gathered."""

    timeline: Timeline
    run_s: float = 0.0
    stop: Stop | None = None
    stop_value: float | None = None
    oom_kills: int = 0
    throttled_s: float | None = None


def watch(
    container: Container,
    meter: Meter,
    context: RunContext,
    stage: Stage,
    started: float,
    stopping: threading.Event,
) -> Watched:
    """Sample until the container is gone, and kill it at a limit.

    Args:
        container: Has been started.
        meter: Measures it.
        context: The run's.
        stage: The case's folders.
        started: `time.monotonic()` of the moment that its start returned.
        stopping: Set from another thread to kill it and give up.

    Raises:
        Interrupted: `stopping` was set.
        InfrastructureError: the engine went away, or the container does not die.
    """
    limits = context.limits
    watched = Watched(Timeline())
    deadline = started + limits.time_s
    root = _RootWatch(container) if context.opt_outs.writable_root else None
    output = _OutputWatch(stage.outputs, root)
    killed_at: float | None = None
    next_sample = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= next_sample:
            sample = _sample(now - started, container, meter, context, output, watched)
            watched.timeline.add(sample)
            if killed_at is None:
                watched.stop, watched.stop_value = _limit_reached(
                    sample, output, limits, kernel_enforces=context.engine.facts.isolated
                )
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
    watched.run_s = (container.gone_at() or time.monotonic()) - started
    if stopping.is_set():
        raise Interrupted
    return watched


def _sample(
    t_s: float,
    container: Container,
    meter: Meter,
    context: RunContext,
    output: _OutputWatch,
    watched: Watched,
) -> Sample:
    memory = meter.memory()
    gpu = context.gpu_meter.used_bytes(container.owns) if context.gpu_meter is not None else None
    watched.oom_kills = max(watched.oom_kills, meter.oom_kills() or 0)
    throttled = meter.throttled_s()
    watched.throttled_s = throttled if throttled is not None else watched.throttled_s
    return Sample(
        t_s=t_s,
        memory_bytes=memory.usage_bytes if memory else None,
        working_set_bytes=memory.working_set_bytes if memory else None,
        cpu_s=meter.cpu_s(),
        gpu_memory_bytes=gpu,
        output_bytes=output.look(),
    )


def _limit_reached(
    sample: Sample, output: _OutputWatch, limits: Limits, *, kernel_enforces: bool
) -> tuple[Stop | None, float | None]:
    if output.total_bytes > limits.output_bytes:
        return Stop.OUTPUT, output.total_bytes
    if output.entries > OUTPUT_ENTRIES_LIMIT or output.too_deep:
        return Stop.ENTRIES, output.entries
    gpu = sample.gpu_memory_bytes
    if gpu is not None and limits.gpu_memory_bytes is not None and gpu > limits.gpu_memory_bytes:
        return Stop.GPU_MEMORY, gpu
    if not kernel_enforces and sample.memory_bytes is not None and sample.memory_bytes > limits.memory_bytes:
        return Stop.MEMORY, sample.memory_bytes
    return None, None


class _OutputWatch:
    """Counts what a running container wrote, rarely enough to cost it nothing that matters."""

    def __init__(self, folder: Path, root: _RootWatch | None) -> None:
        self._folder = folder
        self._root = root
        self._next_scan = 0.0
        self._census = Census(0, 0)

    @property
    def total_bytes(self) -> int:
        """Bytes under the output folder and, if that is writable, in the root file system."""
        return self._census.size_bytes + (self._root.size_bytes if self._root is not None else 0)

    @property
    def entries(self) -> int:
        """Files and folders, counted up to just over the limit."""
        return self._census.entries

    @property
    def too_deep(self) -> bool:
        """Whether folders are nested beyond reason."""
        return self._census.too_deep

    def look(self) -> int:
        """Look again if it is time, and return the bytes seen last."""
        begin = time.monotonic()
        if begin >= self._next_scan:
            self._census = take_census(self._folder, most_entries=OUTPUT_ENTRIES_LIMIT)
            end = time.monotonic()
            # A scan may use this share of one core, so a folder of many files is scanned less often.
            self._next_scan = end + min(2.0, (end - begin) / _SCAN_SHARE)
        return self.total_bytes


class _RootWatch:
    """Asks the engine how much a container wrote to its root file system.

    In a thread, because the engine walks over every file for the answer: a deadline must not wait for it.
    """

    def __init__(self, container: Container) -> None:
        self.size_bytes = 0
        self._container = container
        threading.Thread(target=self._ask, daemon=True, name="root-watch").start()

    def _ask(self) -> None:
        while self._container.gone_at() is None:
            try:
                self.size_bytes = self._container.written_bytes()
            except InfrastructureError:
                return  # who waits for the container meets the same failure
            time.sleep(_SIZE_INTERVAL_S)
