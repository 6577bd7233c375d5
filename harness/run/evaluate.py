"""The whole job for one team: run every case that has no verdict yet, store it, score it."""

from __future__ import annotations

import os
import queue
import shutil
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from harness.engine.base import ContainerEngine, ImageInfo
from harness.errors import ConfigurationError, InfrastructureError, PrerequisiteError
from harness.gate.keeper import Gatekeeper
from harness.measure.cgroup import find_hierarchy, remove_stale
from harness.measure.gpu import Gpu
from harness.results.folder import RunResults, RunWriter, read_run, read_run_record
from harness.results.journal import CASES_FILE, RUN_FILE, read_lines
from harness.results.lock import FolderLock
from harness.results.observer import Observer, SilentObserver
from harness.results.plan import Planned, plan
from harness.results.records import (
    DatasetFacts,
    ExecutionRecord,
    HostFacts,
    ImageFacts,
    Outcome,
    RunRecord,
)
from harness.results.versions import versions
from harness.run.baseline import measure_baseline
from harness.run.context import RUN_LABEL, RunContext
from harness.run.host import host_facts
from harness.run.request import EvaluationRequest, check_request, container_owner, results_label, run_id
from harness.run.stage import discard
from harness.run.workers import Workers, terminate_like_interrupt
from harness.scoring.overlap import OverlappedScorer, split_cores
from harness.scoring.score import cases_by_id, score_missing

__all__ = ["EvaluationRequest", "evaluate"]

ATTEMPTS = 2
"""How often a case is tried in one call when the harness's own side fails."""

_SPARE_BYTES = 1 << 30


def evaluate(
    request: EvaluationRequest, *, engine: ContainerEngine, observer: Observer | None = None
) -> RunResults:
    """Run, measure, score and store one team's submission; resumes where an earlier call stopped.

    Raises:
        ConfigurationError: the request cannot be carried out: no such image, unreadable data, or a run
            that was begun on an unlike host.
        PrerequisiteError: no disk space, or no GPU where one is needed.
        InfrastructureError: the engine or the disk failed; the same call resumes.
        KeyboardInterrupt: SIGINT or SIGTERM; no container is left, and the same call resumes.
    """
    observer = observer or SilentObserver()
    check_request(request)
    image = engine.image(request.image)
    judged, spare = _cores(request)
    gpu = _open_gpu(request)
    dataset = request.dataset
    fingerprint = dataset.fingerprint(lambda done, total: observer.preparing("hashing the data", done, total))
    run = run_id(request, image=image, fingerprint=fingerprint, isolated=engine.facts.isolated)
    folder = request.results / request.challenge.name / request.team / run
    host = host_facts(engine.facts, gpus=(gpu.name,) if gpu else (), gpu_driver=gpu.driver if gpu else "")

    with ExitStack() as stack:
        if gpu is not None:
            stack.enter_context(gpu)
        stack.enter_context(terminate_like_interrupt())
        stack.enter_context(FolderLock(request.results))
        context = replace(
            _context(request, engine, image, run, folder, fingerprint, gpu), cpuset=",".join(map(str, judged))
        )
        if left_behind := engine.reap(RUN_LABEL, context.label):
            observer.note(f"removed {left_behind} container(s) that an earlier run left behind")
        if context.hierarchy is not None:
            remove_stale(context.hierarchy, context.label)
        discard(context.work)
        _check_disk(request)
        _check_host(folder, host)
        context.work.mkdir(parents=True, exist_ok=True)
        stack.callback(discard, context.work)
        stack.enter_context(context.gatekeeper)
        context.gatekeeper.start()
        if (folder / RUN_FILE).exists():
            record = read_run_record(folder)
        else:
            record = _run_record(request, image, run, fingerprint, host, context)
        writer = stack.enter_context(RunWriter(folder, record))
        scorer = None
        if request.score and spare:
            scorer = stack.enter_context(
                OverlappedScorer(
                    spare, challenge=request.challenge, folder=folder, profile=request.scoring_profile
                )
            )
        _run_cases(request, context, writer, record, observer, scorer)
        if request.score:
            score_missing(
                writer,
                cases_by_id(dataset),
                request.challenge,
                profile=request.scoring_profile,
                observer=observer,
            )
    return read_run(folder)


def _cores(request: EvaluationRequest) -> tuple[list[int], list[int]]:
    """Return the cores that containers are kept to, and those kept for scoring; both empty by default."""
    if not request.overlap_scoring:
        return [], []
    return split_cores(os.sched_getaffinity(0), cpus=request.enforced_limits.cpus, jobs=request.jobs)


def _open_gpu(request: EvaluationRequest) -> Gpu | None:
    """Return the GPU that containers get: none for a CPU submission or a challenge without."""
    if request.device != "cuda" or not request.enforced_limits.gpu:
        return None
    if request.jobs > 1:
        raise ConfigurationError("one GPU serves one container", mend="Use --jobs 1.")
    return Gpu()


def _context(
    request: EvaluationRequest,
    engine: ContainerEngine,
    image: ImageInfo,
    run: str,
    folder: Path,
    fingerprint: str,
    gpu: Gpu | None,
) -> RunContext:
    owner, can_give_away = container_owner(request.opt_outs)
    return RunContext(
        engine=engine,
        run=run,
        image=image.source or image.digest,
        limits=request.enforced_limits,
        contract=request.challenge.contract,
        opt_outs=request.opt_outs,
        secret=fingerprint,
        work=request.results / ".work",
        cache=request.cache,
        folder=folder,
        owner=owner,
        can_give_away=can_give_away,
        hierarchy=find_hierarchy(),
        label=results_label(request.results),
        gatekeeper=Gatekeeper(request.challenge.labels.values),
        gpu=gpu.uuid if gpu else None,
        gpu_meter=gpu,
        gpu_free_bytes=request.challenge.gpu_memory_free_bytes,
    )


def _check_disk(request: EvaluationRequest) -> None:
    request.results.mkdir(parents=True, exist_ok=True)
    needed = request.enforced_limits.output_bytes * request.jobs + _SPARE_BYTES
    free = shutil.disk_usage(request.results).free
    if free < needed:
        raise PrerequisiteError(
            f"{free / 2**30:.1f} GiB are free and a case may write {needed / 2**30:.1f} GiB",
            where=request.results,
            mend="Free space, use another results folder, or lower the challenge's output_bytes.",
        )


def _check_host(folder: Path, host: HostFacts) -> None:
    if not (folder / RUN_FILE).exists():
        return
    begun = read_run_record(folder).host
    if begun is not None and begun.likeness != host.likeness:
        raise ConfigurationError(
            f"this run was begun on another host ({begun.cpu_model}, {begun.cores} cores)",
            where=folder,
            mend="Finish it there, or use another results folder: times of unlike hosts are not mixed.",
        )


def _run_record(
    request: EvaluationRequest,
    image: ImageInfo,
    run: str,
    fingerprint: str,
    host: HostFacts,
    context: RunContext,
) -> RunRecord:
    cases = request.dataset.cases
    return RunRecord(
        run=run,
        team=request.team,
        title=request.title,
        challenge=request.challenge,
        limits=request.enforced_limits,
        dataset=DatasetFacts(
            name=request.dataset.name,
            fingerprint=fingerprint,
            cases=tuple(case.id for case in cases),
            annotated={case.id: case.annotated for case in cases if case.annotated is not None},
        ),
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
        baseline_s=measure_baseline(context),
        device=request.device,
        jobs=request.jobs,
        cpuset=context.cpuset,
        created_at=datetime.now(UTC),
    )


def _run_cases(
    request: EvaluationRequest,
    context: RunContext,
    writer: RunWriter,
    record: RunRecord,
    observer: Observer,
    scorer: OverlappedScorer | None,
) -> None:
    """Run what is left, with `jobs` workers; only this thread writes."""
    done = list(read_lines(writer.folder / CASES_FILE, ExecutionRecord))
    left = plan(request.dataset.cases, done)
    observer.run_opened(record, writer.folder, total=len(request.dataset.cases), left=len(left))
    cases = cases_by_id(request.dataset)
    waiting = queue.SimpleQueue[Planned]()
    for planned in left:
        waiting.put(planned)
    tries = dict.fromkeys(cases, 0)
    with Workers(request.jobs, context, observer) as workers:
        running = 0
        while running or not waiting.empty():
            while running < request.jobs and not waiting.empty():
                planned = waiting.get()
                tries[planned.case.id] += 1
                observer.case_started(planned.case.id, planned.attempt)
                workers.submit(planned)
                running += 1
            execution = workers.next_result()
            running -= 1
            execution = writer.add_execution(execution)
            observer.case_finished(execution)
            if execution.outcome is Outcome.INFRASTRUCTURE:
                if not context.engine.ping():
                    raise InfrastructureError(
                        "the container engine went away",
                        where=execution.evidence.summary,
                        mend="Start it and run the same command again: finished cases are kept.",
                    )
                if tries[execution.case] < ATTEMPTS:
                    waiting.put(Planned(cases[execution.case], execution.attempt + 1))
            elif scorer is not None:
                scorer.submit(execution, cases[execution.case])
            if scorer is not None:
                for score in scorer.finished():
                    observer.case_scored(writer.add_score(score))
    if scorer is not None:
        for score in scorer.finished(wait=True):
            observer.case_scored(writer.add_score(score))
