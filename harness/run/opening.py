"""What is decided and checked before the first case of a run: image, host, name, rules, disk."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from harness.data.dataset import Case
from harness.engine.base import ContainerEngine, EngineFacts, ImageInfo
from harness.errors import ConfigurationError, PrerequisiteError
from harness.gate.keeper import Gatekeeper
from harness.measure.cgroup import find_hierarchy, remove_stale
from harness.measure.gpu import Gpu
from harness.results.folder import read_run_record
from harness.results.journal import RUN_FILE
from harness.results.naming import dataset_facts
from harness.results.observer import Observer
from harness.results.records import CONTRACT_VERSION, HostFacts, ImageFacts, RunRecord
from harness.results.versions import versions
from harness.run.access import restore_access
from harness.run.baseline import measure_baseline
from harness.run.context import RUN_LABEL, Bench, Instruments, Places, Rules
from harness.run.host import host_facts
from harness.run.invoke import server_of
from harness.run.request import EvaluationRequest, check_request, container_owner, results_label, run_id
from harness.run.space import make_template
from harness.run.stage import discard_stages
from harness.run.watchdog import Watchdog
from harness.scoring.overlap import split_cores

_SPARE_BYTES = 1 << 30


@dataclass(frozen=True)
class Opened:
    """A request, resolved against this host, its engine and the data set's content.

    What comes after knows this alone, not the request.

    Attributes:
        cases: To run, in the data set's order.
        draft: run.json as it will be, but for what the run's first minute measures.
        spare_cores: Cores on which cases are scored beside the next one; none by default.
        profile: The profile that scores; empty where nothing is to be scored.
        warm_up: Whether the first case is run once more, uncounted.
    """

    cases: tuple[Case, ...]
    image: ImageInfo
    draft: RunRecord
    rules: Rules
    bench: Bench
    gpu: Gpu | None
    spare_cores: list[int]
    profile: str
    warm_up: bool


def check_engine(facts: EngineFacts) -> None:
    """Check that the engine can limit what it runs.

    Raises:
        PrerequisiteError: it cannot.
    """
    if not facts.limits:
        raise PrerequisiteError(
            "a rootless engine limits neither memory nor CPU on cgroup version 1",
            where=f"{facts.name} {facts.version}",
            mend="Boot with cgroup version 2 (systemd.unified_cgroup_hierarchy=1), or use root's engine.",
        )


def note_what_it_lacks(facts: EngineFacts, observer: Observer) -> None:
    """Tell of an engine that isolates, but leaves out what docs/isolation.md promises of every container."""
    if not facts.filters_calls:
        observer.note(
            "this engine filters no system calls: a container may open other sockets and use huge pages; "
            "`harness doctor` says how to mend it"
        )


def resolve(request: EvaluationRequest, engine: ContainerEngine, observer: Observer) -> Opened:
    """Check a request and decide everything that its cases share. Changes nothing. Raises as `evaluate`."""
    check_request(request)
    check_engine(engine.facts)
    note_what_it_lacks(engine.facts, observer)
    if not engine.facts.isolated and request.challenge.contract.grand_challenge is not None:
        raise ConfigurationError(
            "an algorithm of grand-challenge runs in a container only",
            where=f"engine {engine.facts.name}",
            mend="Run the submission that it was made from, or use --engine docker.",
        )
    image = engine.image(request.image)
    cpusets, spare = _cores(request, engine.facts)
    gpu = open_gpu(request)
    fingerprint = request.dataset.fingerprint(
        lambda done, total: observer.preparing("hashing the data", done, total)
    )
    runtime = chosen_runtime(request, engine.facts)
    run = run_id(
        request, image=image, fingerprint=fingerprint, isolated=engine.facts.isolated, runtime=runtime
    )
    owner, can_give_away = container_owner(request.opt_outs)
    rules = Rules(
        run=run,
        image=image.source or image.digest,
        image_environment=(*image.environment, *request.environment),
        runtime=runtime,
        limits=request.enforced_limits,
        contract=request.challenge.contract,
        server=server_of(image, request.challenge.contract),
        opt_outs=request.opt_outs,
        secret=fingerprint,
        owner=owner,
        label=results_label(request.results),
        cpusets=cpusets,
        gpu=gpu.uuid if gpu else None,
        gpu_free_bytes=request.challenge.gpu_memory_free_bytes,
    )
    places = Places(
        results=request.results,
        cache=request.cache,
        folder=request.results / request.challenge.name / request.team / run,
        can_give_away=can_give_away and not engine.facts.maps_users,
    )
    instruments = Instruments(
        engine=engine,
        gatekeeper=Gatekeeper(request.challenge.labels.voxel_values),
        hierarchy=find_hierarchy(),
        gpu=gpu,
        watchdog=Watchdog(engine.registered, engine.address),
    )
    host = host_facts(
        engine.facts,
        gpus=(gpu.name,) if gpu else (),
        gpu_driver=gpu.driver if gpu else "",
        runtime=runtime,
    )
    return Opened(
        cases=request.dataset.cases,
        image=image,
        draft=draft_record(request, rules.run, rules.secret, image=image, host=host, cpusets=cpusets),
        rules=rules,
        bench=Bench(places, instruments),
        gpu=gpu,
        spare_cores=spare,
        profile=request.scoring_profile if request.score else "",
        warm_up=request.warm_up,
    )


def reap(opened: Opened, observer: Observer) -> None:
    """Remove the containers, cgroups and stages that a killed harness left. Needs the folder's lock."""
    instruments, label = opened.bench.instruments, opened.rules.label
    if left_behind := instruments.engine.reap(RUN_LABEL, label):
        observer.note(f"removed {left_behind} container(s) that an earlier run left behind")
    if instruments.hierarchy is not None:
        remove_stale(instruments.hierarchy, label)
    work = opened.bench.places.work
    discard_stages(work)
    if work.exists():
        restore_access(work, instruments.engine, label=label)
        discard_stages(work)


def check_disk(opened: Opened) -> None:
    """Check that the results' disk has room for what the cases at work may write.

    Raises:
        PrerequisiteError: it has not.
    """
    results = opened.bench.places.results
    results.mkdir(parents=True, exist_ok=True)
    needed = opened.rules.limits.output_bytes * opened.draft.jobs + _SPARE_BYTES
    free = shutil.disk_usage(results).free
    if free < needed:
        raise PrerequisiteError(
            f"{free / 2**30:.1f} GiB are free and a case may write {needed / 2**30:.1f} GiB",
            where=results,
            mend="Free space, use another results folder, or lower the challenge's output_bytes.",
        )


def make_workplace(opened: Opened, observer: Observer) -> Opened:
    """Make the folder of stages, closed to other users, and what bounds a container's writing in it."""
    places, instruments = opened.bench.places, opened.bench.instruments
    facts = instruments.engine.facts
    places.work.mkdir(parents=True, exist_ok=True)
    # A set-uid file of a container must be nobody's to run. Mapped users must be able to pass through.
    places.work.chmod(0o711 if facts.maps_users else 0o700)
    if not facts.isolated:
        return opened
    room = opened.rules.limits.output_bytes
    if opened.rules.opt_outs.writable_inputs:
        room += max(case.image.stat().st_size for case in opened.cases if case.image is not None) * 2
    template = make_template(places.work, room)
    if template is None:
        observer.note(
            "what containers write is counted, not bounded by a file system of its own: "
            "that takes root, loop devices and mkfs.ext4"
        )
    return replace(opened, bench=Bench(replace(places, template=template), instruments))


def opened_record(opened: Opened) -> RunRecord:
    """Return run.json's content: what is on disk if the run was begun already, or made anew.

    Raises:
        ConfigurationError: the run was begun on an unlike host.
    """
    folder = opened.bench.places.folder
    if not (folder / RUN_FILE).exists():
        return opened.draft.model_copy(
            update={
                "baseline_s": measure_baseline(opened.rules, opened.bench.instruments.engine),
                "output_bound": "file system" if opened.bench.places.template is not None else "counted",
                "created_at": datetime.now(UTC),
            }
        )
    record = read_run_record(folder)
    begun, here = record.host, opened.draft.host
    if begun is not None and here is not None and (unlike := here.unlike(begun)):
        raise ConfigurationError(
            f"this run was begun on another kind of host ({'; '.join(unlike)})",
            where=folder,
            mend="Finish it there, or use another results folder: times of unlike hosts are not mixed.",
        )
    return record


def open_gpu(request: EvaluationRequest) -> Gpu | None:
    """Return the GPU that containers get: none for a CPU submission or a challenge without."""
    if request.device != "cuda" or not request.enforced_limits.gpu:
        return None
    if request.jobs > 1:
        raise ConfigurationError("one GPU serves one container", mend="Use --jobs 1.")
    return Gpu()


def chosen_runtime(request: EvaluationRequest, facts: EngineFacts) -> str:
    """Return the OCI runtime that was asked for, by this host's person or else by the challenge.

    Raises:
        PrerequisiteError: the engine does not know it.
    """
    wanted = request.runtime or request.challenge.contract.runtime
    if wanted and facts.isolated and wanted not in facts.runtimes:
        raise PrerequisiteError(
            f"the container engine does not know the OCI runtime {wanted!r}",
            where=f"it knows {', '.join(facts.runtimes) or 'none'}",
            mend="Register it in the engine's configuration (Docker: `runtimes` of daemon.json).",
        )
    return wanted if facts.isolated else ""


def _cores(request: EvaluationRequest, facts: EngineFacts) -> tuple[tuple[str, ...], list[int]]:
    """Return the cores of the container in each slot, and those kept for scoring beside them.

    With a quota a container is kept to as many cores, so that what it counts (nproc, its affinity) is what
    it gets: a thread for each core of the host, on a quota of two, is many times slower.
    """
    cores, cpus = os.sched_getaffinity(0), request.enforced_limits.cpus
    if request.overlap_scoring:
        judged, spare = split_cores(cores, cpus=cpus, jobs=request.jobs)
        if request.jobs == 1 or cpus is None:
            return (",".join(map(str, judged)),), spare
        return _slots(judged, cpus, request.jobs), spare
    local = facts.isolated and max(cores) < facts.cores and not any("cpuset" in w for w in facts.warnings)
    if cpus is None or not local or math.ceil(cpus) >= len(cores):
        return (), []
    return _slots(sorted(cores), cpus, request.jobs), []


def _slots(cores: list[int], cpus: float, jobs: int) -> tuple[str, ...]:
    """Return `jobs` sets of cores, apart from each other as long as there are enough."""
    each = math.ceil(cpus)
    first = [slot * each for slot in range(jobs)]
    return tuple(
        ",".join(map(str, sorted({cores[(start + n) % len(cores)] for n in range(each)}))) for start in first
    )


def draft_record(
    request: EvaluationRequest,
    run: str,
    fingerprint: str,
    *,
    image: ImageInfo,
    host: HostFacts | None = None,
    cpusets: tuple[str, ...] = (),
) -> RunRecord:
    """Return run.json as far as it is known before anything runs.

    Args:
        request: What to evaluate.
        run: The run's name.
        fingerprint: Of the data set.
        image: The image.
        host: What the run will run on, where that is known.
        cpusets: Cores that containers are kept to.
    """
    return RunRecord(
        contract_version=CONTRACT_VERSION,
        run=run,
        team=request.team,
        title=request.title,
        challenge=request.challenge,
        limits=request.enforced_limits,
        dataset=dataset_facts(request.dataset, fingerprint),
        image=ImageFacts(
            reference=image.reference,
            digest=image.digest,
            identity=image.identity,
            size_bytes=image.size_bytes,
            user=image.user,
            platform=image.platform,
        ),
        opt_outs=request.opt_outs,
        host=host,
        versions=versions(),
        argv=request.argv,
        device=request.device,
        jobs=request.jobs,
        cpuset=",".join(dict.fromkeys(cpusets)),
        created_at=datetime.now(UTC),
    )
