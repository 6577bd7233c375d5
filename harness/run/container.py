"""One container's life: create, start, watch, kill if need be, measure, remove."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from harness.engine.base import Container, ContainerSpec, ExitState, Mount
from harness.engine.logs import LogKeeper
from harness.measure.cgroup import CaseCgroup, parent_name
from harness.measure.enginestats import EngineStats
from harness.measure.process import ProcessTree
from harness.measure.reload import reloaded_since
from harness.measure.scratch import ScratchMemory
from harness.results.records import Stages, Usage
from harness.run.context import RUN_LABEL, Instruments, Job, Meter, Rules
from harness.run.invoke import calling
from harness.run.outcome import largest_file_bytes, sockets_limit_bytes
from harness.run.stage import Stage
from harness.run.watch import Watch, Watched
from harness.run.writing import bytes_before


@dataclass(frozen=True)
class Ran:
    """What is known of a container that is gone.

    Attributes:
        stages: Without the harvest, which comes later.
        gpu_taken: The host took its GPU away while it ran.
    """

    state: ExitState
    watched: Watched
    usage: Usage
    stages: Stages
    log: LogKeeper
    gpu_taken: bool = False


def run_container(
    job: Job,
    stage: Stage,
    instruments: Instruments,
    *,
    stopping: threading.Event,
    running: Callable[[], None],
) -> Ran:
    """Run a staged case to its end, whatever that is, and remove the container.

    Args:
        job: The case and its rules.
        stage: The case's folders.
        instruments: What runs and measures it.
        stopping: Set from another thread to kill it and give up.
        running: Called once it runs.

    Raises:
        StartRefused: the image or its command cannot be started.
        InfrastructureError: the engine failed.
        Interrupted: `stopping` was set.
    """
    rules = job.rules
    # Begins with the results folder's label, so that what is left behind can be told apart.
    token = rules.label + secrets.token_hex(8)
    facts, hierarchy = instruments.engine.facts, instruments.hierarchy
    parent = parent_name(token, facts.cgroup_driver) if hierarchy is not None and facts.isolated else None
    spec = container_spec(rules, stage, name=f"flareharness-{token}", parent=parent, slot=job.slot)

    clock = time.monotonic
    with contextlib.ExitStack() as undone:
        if instruments.watchdog is not None:
            undone.enter_context(instruments.watchdog.over(spec.name))
        begin = clock()
        container = instruments.engine.create(spec)
        cgroup = None
        if parent is not None and hierarchy is not None:
            user = os.getuid() if facts.rootless else None
            cgroup = CaseCgroup(hierarchy, parent, container.id, user=user)
            undone.callback(cgroup.remove)
            cgroup.bound_sockets(sockets_limit_bytes(rules.limits), facts.name)
        undone.callback(container.remove)
        if instruments.gpu is not None:
            instruments.gpu.note_baseline()
        scratch = undone.enter_context(_scratch(rules, cgroup))
        before_bytes = bytes_before(stage)
        created = clock()
        with scratch.sought():
            container.start()
        started = container.started_at()
        # An engine in a virtual machine or a namespace of its own has its cgroups elsewhere.
        meter = cgroup if cgroup is not None and cgroup.exists else _fallback_meter(container)
        watch = Watch(
            container,
            meter,
            rules,
            stage,
            before_bytes=before_bytes,
            scratch=scratch,
            gpu=instruments.gpu,
            kernel_enforces=facts.isolated,
        )
        running()
        watched = watch.until_gone(started, stopping)
        ended = clock()
        state = container.state()
        usage = _usage(meter, watched, rules, instruments)
    stages = Stages(
        create_s=created - begin,
        start_s=max(0.0, started - created),
        run_s=watched.run_s,
        teardown_s=clock() - ended,
    )
    taken = rules.gpu is not None and facts.cgroup_driver == "systemd" and reloaded_since(started)
    return Ran(state, watched, usage, stages, container.log(), gpu_taken=taken)


def container_spec(
    rules: Rules, stage: Stage | None, *, name: str, parent: str | None, slot: int = 0
) -> ContainerSpec:
    """Return the container for one case, or for nothing (the baseline) if there is no stage."""
    limits, contract = rules.limits, rules.contract
    entrypoint, command = calling(rules.server) if rules.server else (None, contract.command)
    mounts: tuple[Mount, ...] = ()
    if stage is not None:
        mounts = (
            Mount(stage.inputs.resolve(), contract.inputs, writable=stage.writable_inputs),
            Mount(stage.outputs.resolve(), contract.outputs, writable=True),
            *_names(rules, stage),
        )
    return ContainerSpec(
        name=name,
        image=rules.image,
        command=command,
        entrypoint=entrypoint,
        memory_bytes=limits.memory_bytes,
        shm_bytes=limits.shared_memory_bytes,
        tmp_bytes=rules.tmp_bytes,
        file_bytes=largest_file_bytes(limits),
        log_bytes=limits.log_bytes,
        mounts=mounts,
        environment={"FLARE_INPUTS": contract.inputs, "FLARE_OUTPUTS": contract.outputs},
        labels={RUN_LABEL: rules.label},
        user=":".join(map(str, rules.owner)),
        cpus=limits.cpus,
        cpuset=rules.cpusets[slot % len(rules.cpusets)] if rules.cpusets else "",
        gpu=rules.gpu,
        writable_root=rules.opt_outs.writable_root,
        cgroup_parent=parent,
        image_environment=rules.image_environment,
        declared=rules.declared,
        tmp_by_engine=rules.tmp_by_engine,
        runtime=rules.runtime,
    )


def _names(rules: Rules, stage: Stage) -> tuple[Mount, ...]:
    """Return what names the loopback and the user; nothing over a read-only copy of the image's /etc."""
    if any(declared.copy and declared.target == "/etc" for declared in rules.declared):
        return ()
    hosts = Mount(stage.hosts.resolve(), "/etc/hosts")
    return (hosts, Mount(stage.passwd.resolve(), "/etc/passwd")) if rules.passwd else (hosts,)


def _scratch(rules: Rules, cgroup: CaseCgroup | None) -> ScratchMemory:
    sizes = {"/tmp": rules.tmp_bytes, "/dev/shm": rules.limits.shared_memory_bytes}
    return ScratchMemory(cgroup.pids if cgroup is not None else list, sizes)


def _fallback_meter(container: Container) -> Meter:
    if container.root_pid is not None:
        return ProcessTree(container.root_pid)
    return EngineStats(container.statistics)


def _usage(meter: Meter, watched: Watched, rules: Rules, instruments: Instruments) -> Usage:
    timeline, end_s = watched.timeline, watched.run_s
    peak = meter.peak()
    if peak is None and (sampled := timeline.peak("memory_bytes")) is not None:
        peak = (sampled, "sampled-lower-bound")
    working_set = meter.working_set_peak()
    if working_set is None and (sampled := timeline.peak("working_set_bytes")) is not None:
        working_set = (sampled, "sampled-lower-bound")
    cpu_s = meter.cpu_s()
    if cpu_s is None:
        cpu_s = next((s.cpu_s for s in reversed(timeline.samples) if s.cpu_s is not None), None)
    watched.oom_kills = max(watched.oom_kills, meter.oom_kills() or 0)
    there = instruments.engine.facts.cores
    cores = min(rules.limits.cpus or there, there)
    return Usage(
        peak_memory_bytes=peak[0] if peak else None,
        peak_memory_method=peak[1] if peak else None,
        peak_working_set_bytes=working_set[0] if working_set else None,
        peak_working_set_method=working_set[1] if working_set else None,
        memory_auc_byte_s=timeline.integral("memory_bytes", end_s=end_s),
        cpu_s=cpu_s,
        # The integral of utilisation is the CPU time itself, so nothing is lost between samples.
        cpu_utilisation_auc_percent_s=None if cpu_s is None else 100.0 * cpu_s / cores,
        throttled_s=watched.throttled_s,
        peak_gpu_memory_bytes=timeline.peak("gpu_memory_bytes"),
        gpu_memory_auc_byte_s=timeline.integral("gpu_memory_bytes", end_s=end_s, free=rules.gpu_free_bytes),
        gpu_method=instruments.gpu.method if instruments.gpu is not None else None,
    )
