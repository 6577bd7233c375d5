"""Run one case: stage, create, start, watch, kill if need be, measure, harvest, classify."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from harness.data.dataset import Case
from harness.engine.base import Container, ContainerSpec, Mount, StartRefused
from harness.errors import InfrastructureError
from harness.gate.harvest import harvest, take_census
from harness.measure.cgroup import CaseCgroup, parent_name
from harness.measure.enginestats import EngineStats
from harness.measure.process import ProcessTree
from harness.results.records import (
    Evidence,
    ExecutionRecord,
    Outcome,
    Prediction,
    Stages,
    Usage,
)
from harness.run.context import RUN_LABEL, Meter, RunContext
from harness.run.outcome import OUTPUT_ENTRIES_LIMIT, Observed, classify, largest_file_bytes
from harness.run.stage import Stage, discard, opaque_id, stage_case
from harness.run.watch import Watched, watch


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
            opaque=opaque_id(context.secret, context.run, case.id),
            work=context.work,
            contract=context.contract,
            cache=context.cache,
            owner=context.owner if context.can_give_away else None,
        )
        kept = context.folder / "cases" / case.id
        discard(kept)  # an attempt that failed on our side may have left some of its files
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
        file_bytes=largest_file_bytes(limits),
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
    cgroup = None
    if parent is not None and context.hierarchy is not None:
        cgroup = CaseCgroup(context.hierarchy, parent, container.id)
    try:
        if context.gpu_meter is not None:
            context.gpu_meter.note_baseline()
        created = clock()
        container.start()
        started = clock()
        # An engine in a virtual machine or a namespace of its own has its cgroups elsewhere.
        meter = cgroup if cgroup is not None and cgroup.exists else _fallback_meter(container)
        stage_changed("run")
        watched = watch(container, meter, context, stage, started, stopping)
        ended = clock()
        state = container.state()
        usage = _usage(meter, watched, context)
    finally:
        container.remove()
        if cgroup is not None:
            cgroup.remove()
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
        case=case.id,
        attempt=attempt,
        outcome=verdict[0],
        evidence=verdict[1],
        started_at=started_at,
        stages=stages,
        usage=usage,
        prediction=prediction,
        notes=notes,
    )


def _fallback_meter(container: Container) -> Meter:
    if container.root_pid is not None:
        return ProcessTree(container.root_pid)
    return EngineStats(container.statistics)


def _usage(meter: Meter, watched: Watched, context: RunContext) -> Usage:
    timeline, end_s = watched.timeline, watched.run_s
    peak = meter.peak()
    if peak is None and (sampled := timeline.peak("memory_bytes")) is not None:
        peak = (sampled, "sampled-lower-bound")
    cpu_s = meter.cpu_s()
    if cpu_s is None:
        cpu_s = next((s.cpu_s for s in reversed(timeline.samples) if s.cpu_s is not None), None)
    watched.oom_kills = max(watched.oom_kills, meter.oom_kills() or 0)
    there = context.engine.facts.cores
    cores = min(context.limits.cpus or there, there)
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
        case=case.id, attempt=attempt, outcome=outcome, evidence=evidence, started_at=started_at
    )
