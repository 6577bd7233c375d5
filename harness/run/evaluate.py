"""The whole job for one team: run every case that has no verdict yet, store it, score it."""

from __future__ import annotations

import hashlib
import json
import os
import queue
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal

from harness.challenge import Challenge, Limits
from harness.data.dataset import Dataset
from harness.engine.base import ContainerEngine, ImageInfo
from harness.errors import ConfigurationError, InfrastructureError, PrerequisiteError
from harness.measure.cgroup import find_hierarchy, remove_stale
from harness.measure.gpu import Gpu
from harness.run.baseline import measure_baseline
from harness.run.execute import RUN_LABEL, Interrupted, RunContext, execute_case
from harness.run.harvest import Gatekeeper
from harness.run.host import host_facts, versions
from harness.run.journal import (
    CASES_FILE,
    RUN_FILE,
    FolderLock,
    RunResults,
    RunWriter,
    read_lines,
    read_run,
    read_run_record,
)
from harness.run.observer import Observer, SilentObserver
from harness.run.overlap import OverlappedScorer, split_cores
from harness.run.plan import Planned, plan
from harness.run.records import (
    CONTRACT_VERSION,
    DatasetFacts,
    ExecutionRecord,
    HostFacts,
    ImageFacts,
    OptOuts,
    Outcome,
    RunRecord,
)
from harness.run.score import cases_by_id, score_missing
from harness.run.stage import check_image, default_cache, discard

ATTEMPTS = 2
"""How often a case is tried in one call when the harness's own side fails."""

_SPARE_BYTES = 1 << 30
_CONTAINER_OWNER = (65532, 65532)


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate, and where the results go.

    Attributes:
        team: Names the team's folder; lower case letters, digits, `-`, `_` and `.`.
        image: An image of the engine, by tag or id; for the process engine a submission's folder.
        results: The results folder; the run goes to `results/CHALLENGE/TEAM/RUN`.
        device: What the submission asks for; `cuda` gets one GPU where the challenge allows it.
        limits: Instead of the challenge's.
        profile: Scoring profile instead of the challenge's.
        jobs: Containers at once. More than one disturbs times; the record says so.
        score: Whether to score after running.
        overlap_scoring: Score a case while the next one runs; needs cores that containers may not use.
        cache: Where scrubbed inputs are kept between runs.
        argv: The command line, for the record.
    """

    team: str
    image: str
    challenge: Challenge
    dataset: Dataset
    results: Path
    title: str = ""
    device: Literal["cpu", "cuda"] = "cpu"
    opt_outs: OptOuts = field(default_factory=OptOuts)
    limits: Limits | None = None
    profile: str | None = None
    jobs: int = 1
    score: bool = True
    overlap_scoring: bool = False
    cache: Path = field(default_factory=default_cache)
    argv: tuple[str, ...] = ()

    @property
    def enforced_limits(self) -> Limits:
        """The limits that hold."""
        return self.limits or self.challenge.limits

    @property
    def scoring_profile(self) -> str:
        """The profile that scores."""
        return self.profile or self.challenge.profile


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
    _check(request)
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
        stack.enter_context(_terminate_like_interrupt())
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


def run_id(request: EvaluationRequest, *, image: ImageInfo, fingerprint: str, isolated: bool) -> str:
    """Return the run's name: the same for the same evaluation, another for a changed one."""
    identity = {
        "image": image.digest,
        "dataset": fingerprint,
        "limits": request.enforced_limits.model_dump(mode="json"),
        "contract": request.challenge.contract.model_dump(mode="json"),
        "contract_version": CONTRACT_VERSION,
        "opt_outs": request.opt_outs.model_dump(mode="json"),
        "device": request.device,
        "jobs": request.jobs,
        "overlap_scoring": request.overlap_scoring,
        "isolated": isolated,
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]


def results_label(results: Path) -> str:
    """Return the label value by which the containers of a results folder are found again."""
    return hashlib.sha256(str(results.resolve()).encode()).hexdigest()[:16]


def container_owner(opt_outs: OptOuts) -> tuple[tuple[int, int], bool]:
    """Return the uid and gid of containers, and whether the harness may give files to them.

    An ordinary user's containers run as that user, so that what they write can be removed again.
    """
    is_root = os.getuid() == 0
    ours = (os.getuid(), os.getgid())
    if opt_outs.requires_root:
        return (0, 0), is_root
    return (_CONTAINER_OWNER, True) if is_root else (ours, True)


def check_team(team: str) -> None:
    """Check that a team's name can name its folder.

    Raises:
        ConfigurationError: it cannot.
    """
    allowed = set("abcdefghijklmnopqrstuvwxyz0123456789-_.")
    if not team or not set(team) <= allowed or team.startswith("."):
        raise ConfigurationError(
            f"{team!r} is no team name", mend="Use lower case letters, digits, `-`, `_` and `.`."
        )


def _check(request: EvaluationRequest) -> None:
    check_team(request.team)
    if request.jobs < 1:
        raise ConfigurationError(f"{request.jobs} jobs make no sense", mend="Use 1 or more.")
    for case in request.dataset.cases:
        if case.image is None:
            raise ConfigurationError(f"case {case.case} has no image", where=request.dataset.folder)
        if request.score and case.label is None:
            raise ConfigurationError(
                f"case {case.case} has no label", where=request.dataset.folder, mend="Run without scoring."
            )
        check_image(case.image)


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
            cases=tuple(case.case for case in cases),
            annotated={case.case: case.annotated for case in cases if case.annotated is not None},
        ),
        image=ImageFacts(
            reference=image.reference,
            digest=image.digest,
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
    with _Workers(request.jobs, context, observer) as workers:
        running = 0
        while running or not waiting.empty():
            while running < request.jobs and not waiting.empty():
                planned = waiting.get()
                tries[planned.case.case] += 1
                observer.case_started(planned.case.case, planned.attempt)
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


class _Workers:
    """Threads that each run one case at a time. Leaving the block kills what they run."""

    def __init__(self, count: int, context: RunContext, observer: Observer) -> None:
        self._context = context
        self._observer = observer
        self._todo: queue.SimpleQueue[Planned | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[ExecutionRecord | BaseException] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"case-{n}") for n in range(count)]

    def submit(self, planned: Planned) -> None:
        """Queue a case."""
        self._todo.put(planned)

    def next_result(self) -> ExecutionRecord:
        """Wait for the next case to end."""
        while True:
            try:
                # A bare get() would hold back the handling of signals on some platforms.
                result = self._results.get(timeout=1.0)
            except queue.Empty:
                continue
            if isinstance(result, BaseException):
                raise result
            return result

    def _work(self) -> None:
        while (planned := self._todo.get()) is not None and not self._stopping.is_set():
            case = planned.case
            try:
                result: ExecutionRecord | BaseException = execute_case(
                    case,
                    attempt=planned.attempt,
                    context=self._context,
                    stage_changed=lambda stage, case=case: self._observer.case_stage(case.case, stage),  # type: ignore[misc]
                    stopping=self._stopping,
                )
            except Interrupted:
                return
            except BaseException as error:
                result = error
            self._results.put(result)

    def __enter__(self) -> _Workers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for _thread in self._threads:
            self._todo.put(None)
        with _signals_held():
            for thread in self._threads:
                thread.join()


@contextmanager
def _terminate_like_interrupt() -> Iterator[None]:
    """Make SIGTERM raise KeyboardInterrupt, as SIGINT does, so that both clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Put off SIGINT and SIGTERM: an impatient second ^C must not leave a container behind."""
    held = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
