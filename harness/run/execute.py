"""Run one case: stage, create, start, watch, kill if need be, measure, harvest, classify."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from harness.challenge import Contract, Limits
from harness.data.dataset import Case
from harness.engine.base import Container, ContainerEngine, ContainerSpec, Mount, StartRefused
from harness.errors import InfrastructureError
from harness.measure.cgroup import CaseCgroup, Hierarchy, MemorySample, PeakMethod, parent_name
from harness.measure.process import ProcessTree
from harness.measure.timeline import Sample, Timeline
from harness.run.harvest import Census, Gatekeeper, harvest, take_census
from harness.run.outcome import OUTPUT_ENTRIES_LIMIT, Observed, Stop, classify
from harness.run.records import (
    Evidence,
    ExecutionRecord,
    OptOuts,
    Outcome,
    Prediction,
    Stages,
    Usage,
)
from harness.run.stage import Stage, discard, opaque_id, stage_case

RUN_LABEL = "flareharness.results"
"""Label of our containers; its value names the results folder that they work for."""

SAMPLE_INTERVAL_S = 0.1
KILL_PATIENCE_S = 30.0
_CONTAINER_ID = 65532
_SCAN_SHARE = 0.02
_SIZE_INTERVAL_S = 1.0


class Interrupted(Exception):
    """The run is being stopped; the case that was running leaves no record."""


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

    def remove(self) -> None:
        """Clean up after the container is gone."""


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


@dataclass
class _Watched:
    """What the watch over a running container gathered."""

    timeline: Timeline
    run_s: float = 0.0
    stop: Stop | None = None
    stop_value: float | None = None
    oom_kills: int = 0
    throttled_s: float | None = None


def execute_case(
    case: Case,
    *,
    attempt: int,
    context: RunContext,
    stage_changed: Callable[[str], None] = lambda stage: None,
    stopping: threading.Event | None = None,
) -> ExecutionRecord:
    """Run one case in a fresh container and return what happened; nothing of it keeps running.

    Args:
        case: The case.
        attempt: 1, or more after an infrastructure failure.
        context: The run's.
        stage_changed: Told of stage, run and harvest.
        stopping: Set from another thread to kill the container and give up.

    Raises:
        Interrupted: `stopping` was set.
    """
    started_at = datetime.now(UTC)
    stopping = stopping or threading.Event()
    stage: Stage | None = None
    try:
        stage_changed("stage")
        stage = stage_case(
            case,
            opaque=opaque_id(context.secret, context.run, case.case),
            work=context.work,
            contract=context.contract,
            cache=context.cache,
            owner=context.owner if context.can_give_away else None,
        )
        kept = context.folder / "cases" / case.case
        kept.mkdir(parents=True, exist_ok=True)
        return _run_staged(case, attempt, started_at, context, stage, kept, stage_changed, stopping)
    except StartRefused as error:
        evidence = Evidence(summary=f"the container could not be started: {error}")
        return _record(case, attempt, started_at, Outcome.START_FAILED, evidence)
    except (InfrastructureError, OSError) as error:
        evidence = Evidence(summary=str(error))
        return _record(case, attempt, started_at, Outcome.INFRASTRUCTURE, evidence)
    finally:
        if stage is not None:
            discard(stage.folder)


def container_spec(
    context: RunContext, stage: Stage | None, *, name: str, parent: str | None
) -> ContainerSpec:
    """Return the container for one case, or for nothing (the baseline) if there is no stage."""
    limits, contract = context.limits, context.contract
    mounts: tuple[Mount, ...] = ()
    environment = {"FLARE_INPUTS": contract.inputs, "FLARE_OUTPUTS": contract.outputs}
    if stage is not None:
        mounts = (
            Mount(stage.inputs.resolve(), contract.inputs),
            Mount(stage.outputs.resolve(), contract.outputs, writable=True),
        )
    return ContainerSpec(
        name=name,
        image=context.image,
        command=contract.command,
        memory_bytes=limits.memory_bytes,
        shm_bytes=min(limits.shm_bytes, limits.memory_bytes),
        tmp_bytes=min(limits.tmp_bytes, limits.memory_bytes),
        # Shared memory segments are files too, so the limit must let them be.
        file_bytes=max(limits.output_bytes, limits.tmp_bytes, limits.shm_bytes),
        log_bytes=limits.log_bytes,
        mounts=mounts,
        environment=environment,
        labels={RUN_LABEL: context.label},
        user=":".join(map(str, context.owner)),
        cpus=limits.cpus,
        cpuset=context.cpuset,
        gpu=context.gpu,
        writable_root=context.opt_outs.writable_root,
        cgroup_parent=parent,
    )


def _run_staged(
    case: Case,
    attempt: int,
    started_at: datetime,
    context: RunContext,
    stage: Stage,
    kept: Path,
    stage_changed: Callable[[str], None],
    stopping: threading.Event,
) -> ExecutionRecord:
    # Begins with the results folder's label, so that what is left behind can be told apart.
    token = context.label + secrets.token_hex(8)
    facts = context.engine.facts
    parent = (
        parent_name(token, facts.cgroup_driver) if context.hierarchy is not None and facts.isolated else None
    )
    spec = container_spec(context, stage, name=f"flareharness-{token}", parent=parent)

    clock = time.monotonic
    begin = clock()
    container = context.engine.create(spec)
    meter = _meter(context, parent, container)
    try:
        if context.gpu_meter is not None:
            context.gpu_meter.note_baseline()
        created = clock()
        container.start()
        started = clock()
        if meter is None and container.root_pid is not None:
            meter = ProcessTree(container.root_pid)
        stage_changed("run")
        watched = _watch(container, meter, context, stage, started, stopping)
        ended = clock()
        state = container.state()
        usage = _usage(meter, watched, context)
    finally:
        container.remove()
        if meter is not None:
            meter.remove()
    gone = clock()
    stage_changed("harvest")

    log = container.log()
    (kept / "container.log").write_bytes(log.content())
    watched.timeline.write_csv(kept / "timeline.csv")
    census = take_census(stage.outputs, most_entries=OUTPUT_ENTRIES_LIMIT)
    seen = Observed(
        exit_code=state.exit_code,
        oom_killed=state.oom_killed or watched.oom_kills > 0,
        run_s=watched.run_s,
        stop=watched.stop,
        stop_value=watched.stop_value,
        output_bytes=census.size_bytes,
        output_entries=census.entries,
        peak_memory_bytes=usage.peak_memory_bytes,
        last_log_line=log.last_line(),
        engine_error=state.error,
    )
    prediction: Prediction | None = None
    notes: tuple[str, ...] = ()
    verdict = classify(seen, context.limits)
    if verdict is None:
        verdict, prediction, notes = _judge_output(case, context, stage, kept, seen)
    stages = Stages(
        create_s=created - begin,
        start_s=started - created,
        run_s=watched.run_s,
        teardown_s=gone - ended,
        harvest_s=clock() - gone,
    )
    return ExecutionRecord(
        case=case.case,
        attempt=attempt,
        outcome=verdict[0],
        evidence=verdict[1],
        started_at=started_at,
        stages=stages,
        usage=usage,
        prediction=prediction,
        notes=notes,
    )


def _watch(
    container: Container,
    meter: Meter | None,
    context: RunContext,
    stage: Stage,
    started: float,
    stopping: threading.Event,
) -> _Watched:
    """Sample until the container is gone, and kill it at a limit."""
    limits = context.limits
    watched = _Watched(Timeline())
    deadline = started + limits.time_s
    output = _OutputWatch(stage.outputs, container if context.opt_outs.writable_root else None)
    killed_at: float | None = None
    next_sample = time.monotonic()
    while True:
        now = time.monotonic()
        if now >= next_sample:
            sample = _sample(now - started, container, meter, context, output, watched)
            watched.timeline.add(sample)
            if killed_at is None:
                watched.stop, watched.stop_value = _limit_reached(
                    sample, output, limits, kernel_enforces=_enforced(context)
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
    meter: Meter | None,
    context: RunContext,
    output: _OutputWatch,
    watched: _Watched,
) -> Sample:
    memory = meter.memory() if meter is not None else None
    gpu = context.gpu_meter.used_bytes(container.owns) if context.gpu_meter is not None else None
    if meter is not None:
        watched.oom_kills = max(watched.oom_kills, meter.oom_kills() or 0)
        throttled = meter.throttled_s()
        watched.throttled_s = throttled if throttled is not None else watched.throttled_s
    return Sample(
        t_s=t_s,
        memory_bytes=memory.usage_bytes if memory else None,
        working_set_bytes=memory.working_set_bytes if memory else None,
        cpu_s=meter.cpu_s() if meter is not None else None,
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


def _enforced(context: RunContext) -> bool:
    return context.engine.facts.isolated


class _OutputWatch:
    """Counts what a running container wrote, rarely enough to cost it nothing that matters."""

    def __init__(self, folder: Path, writes_root: Container | None) -> None:
        self._folder = folder
        self._writes_root = writes_root
        self._next_scan = self._next_size = 0.0
        self._root_bytes = 0
        self._census = Census(0, 0)

    @property
    def total_bytes(self) -> int:
        """Bytes under the output folder and, if that is writable, in the root file system."""
        return self._census.size_bytes + self._root_bytes

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
        if self._writes_root is not None and begin >= self._next_size:
            self._root_bytes = self._writes_root.written_bytes()
            self._next_size = time.monotonic() + _SIZE_INTERVAL_S
        return self.total_bytes


def _meter(context: RunContext, parent: str | None, container: Container) -> Meter | None:
    if parent is None or context.hierarchy is None:
        return None
    return CaseCgroup(context.hierarchy, parent, container.id)


def _usage(meter: Meter | None, watched: _Watched, context: RunContext) -> Usage:
    timeline, end_s = watched.timeline, watched.run_s
    peak = meter.peak() if meter is not None else None
    if peak is None and (sampled := timeline.peak("memory_bytes")) is not None:
        peak = (sampled, "sampled-lower-bound")
    cpu_s = meter.cpu_s() if meter is not None else None
    if cpu_s is None:
        cpu_s = next((s.cpu_s for s in reversed(timeline.samples) if s.cpu_s is not None), None)
    if meter is not None:
        watched.oom_kills = max(watched.oom_kills, meter.oom_kills() or 0)
    cores = context.limits.cpus or context.engine.facts.cores
    return Usage(
        peak_memory_bytes=peak[0] if peak else None,
        peak_memory_method=peak[1] if peak else None,
        peak_working_set_bytes=timeline.peak("working_set_bytes"),
        memory_auc_byte_s=timeline.integral("memory_bytes", end_s=end_s),
        cpu_s=cpu_s,
        # The integral of utilisation is the CPU time itself, so nothing is lost between samples.
        cpu_utilisation_auc_percent_s=None if cpu_s is None else 100.0 * cpu_s / cores,
        throttled_s=watched.throttled_s,
        peak_gpu_memory_bytes=timeline.peak("gpu_memory_bytes"),
        gpu_memory_auc_byte_s=timeline.integral("gpu_memory_bytes", end_s=end_s, free=context.gpu_free_bytes),
        gpu_method=context.gpu_meter.method if context.gpu_meter is not None else None,
    )


def _judge_output(
    case: Case, context: RunContext, stage: Stage, kept: Path, seen: Observed
) -> tuple[tuple[Outcome, Evidence], Prediction | None, tuple[str, ...]]:
    """Decide over the output of a container that ended well."""

    def evidence(summary: str) -> Evidence:
        return Evidence(
            summary=summary,
            exit_code=seen.exit_code,
            oom_killed=seen.oom_killed,
            last_log_line=seen.last_log_line,
        )

    with contextlib.suppress(OSError):
        stage.outputs.chmod(0o700)  # the container may have closed it to us
    target = kept / f"prediction{context.contract.output_suffix}"
    target.unlink(missing_ok=True)
    found = harvest(stage.outputs, stage.expected, target, most_bytes=context.limits.output_bytes)
    if found.missing:
        return (Outcome.NO_OUTPUT, evidence(found.missing)), None, ()
    if found.refused or found.path is None:
        return (Outcome.INVALID_OUTPUT, evidence(found.refused)), None, ()
    assert case.image is not None
    verdict = context.gatekeeper.judge(found.path, case.image)
    if verdict.refused:
        target.unlink()
        return (Outcome.INVALID_OUTPUT, evidence(verdict.refused)), None, ()
    prediction = Prediction(
        path=str(target.relative_to(context.folder)), sha256=found.sha256, size_bytes=found.size_bytes
    )
    return (Outcome.SUCCEEDED, evidence(f"prediction of {found.size_bytes} bytes")), prediction, verdict.notes


def _record(
    case: Case, attempt: int, started_at: datetime, outcome: Outcome, evidence: Evidence
) -> ExecutionRecord:
    return ExecutionRecord(
        case=case.case, attempt=attempt, outcome=outcome, evidence=evidence, started_at=started_at
    )
