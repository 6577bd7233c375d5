"""The whole job for one team: run every case that has no verdict yet, store it, score it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime

from harness.engine.base import ContainerEngine
from harness.errors import HarnessError, InfrastructureError
from harness.results.folder import RunResults, RunWriter, read_run
from harness.results.journal import CASES_FILE, read_lines
from harness.results.lock import FolderLock
from harness.results.observer import Observer
from harness.results.plan import Planned, plan
from harness.results.records import Evidence, ExecutionRecord, Outcome, RunRecord
from harness.run.alone import alone_on_this_host
from harness.run.canary import try_image
from harness.run.context import RUN_LABEL, Bench, Job, Rules
from harness.run.opening import Opened, check_disk, make_workplace, opened_record, reap, resolve
from harness.run.request import EvaluationRequest
from harness.run.stage import discard_stages, place_in_order
from harness.run.workers import Executor, Threads, terminate_like_interrupt
from harness.scoring.overlap import OverlappedScorer
from harness.scoring.score import score_missing

__all__ = ["EvaluationRequest", "Run", "evaluate", "open_run"]

ATTEMPTS = 2
"""How often a case is tried in one call when the harness's own side fails."""


def evaluate(
    request: EvaluationRequest,
    *,
    engine: ContainerEngine,
    observer: Observer | None = None,
    executor: Executor | None = None,
) -> RunResults:
    """Run, measure, score and store one team's submission; resumes where an earlier call stopped.

    Args:
        request: What to evaluate.
        engine: What runs containers on this host.
        observer: Told of what goes on.
        executor: Runs the cases; by default as many threads of this process as the request has jobs.

    Raises:
        ConfigurationError: the request cannot be carried out: no such image, unreadable data, or a run
            that was begun on an unlike host.
        PrerequisiteError: no disk space, or no GPU where one is needed.
        InfrastructureError: the engine or the disk failed; the same call resumes.
        KeyboardInterrupt: SIGINT or SIGTERM; no container is left, and the same call resumes.
    """
    observer = observer or Observer()
    with open_run(request, engine, observer) as run:
        for execution in run.cases(executor or Threads(request.jobs, run.bench, observer)):
            run.store(execution)
        run.score()
    return read_run(run.writer.folder)


@contextmanager
def open_run(request: EvaluationRequest, engine: ContainerEngine, observer: Observer) -> Iterator[Run]:
    """Check a request, name its run, lock its folders and clear what an earlier call left; undone in reverse.

    Raises as `evaluate`.
    """
    opened = resolve(request, engine, observer)
    with ExitStack() as stack:
        if opened.gpu is not None:
            stack.enter_context(opened.gpu)
        stack.enter_context(terminate_like_interrupt())
        stack.enter_context(FolderLock(opened.bench.places.results))
        reap(opened, observer)
        check_disk(opened)
        stack.enter_context(alone_on_this_host(observer))
        stack.callback(discard_stages, opened.bench.places.work)
        opened = make_workplace(opened, observer)
        record = opened_record(opened)
        instruments = opened.bench.instruments
        stack.enter_context(instruments.gatekeeper).start()
        if instruments.watchdog is not None:
            stack.enter_context(instruments.watchdog)
        writer = stack.enter_context(RunWriter(opened.bench.places.folder, record))
        scorer = None
        if opened.profile and opened.spare_cores:
            scorer = stack.enter_context(_overlapped_scorer(opened))
        yield Run(opened, record=record, writer=writer, scorer=scorer, observer=observer, stack=stack)


def _overlapped_scorer(opened: Opened) -> OverlappedScorer:
    return OverlappedScorer(
        opened.spare_cores,
        challenge=opened.draft.challenge,
        folder=opened.bench.places.folder,
        profile=opened.profile,
    )


class Run:
    """An open run. Make one with `open_run`.

    Attributes:
        bench: This host's places and instruments.
        rules: What holds for every case.
        writer: Writes the run's folder, alone.
    """

    def __init__(
        self,
        opened: Opened,
        *,
        record: RunRecord,
        writer: RunWriter,
        scorer: OverlappedScorer | None,
        observer: Observer,
        stack: ExitStack,
    ) -> None:
        self.bench: Bench = opened.bench
        self.rules: Rules = opened.rules
        self.writer = writer
        self._opened = opened
        self._record = record
        self._cases = {case.id: case for case in opened.cases}
        self._scorer = scorer
        self._observer = observer
        self._stack = stack
        self._uncounted: tuple[str, int] | None = None

    def cases(self, executor: Executor) -> Iterator[ExecutionRecord]:
        """Run what is left and yield each case as it ends; a failure of our own side is tried once more.

        Args:
            executor: Entered here, and left with the run at the latest, so that nothing outlives it.

        Raises:
            InfrastructureError: the engine went away.
        """
        done = list(read_lines(self.writer.folder / CASES_FILE, ExecutionRecord))
        left = sorted(
            plan(self._opened.cases, done),
            key=lambda planned: place_in_order(self.rules.secret, self.rules.run, planned.case.id),
        )
        total, to_judge = len(self._opened.cases), len(left)
        if self._opened.warm_up:
            self._plan_warm_up(left, done)
        self._observer.run_opened(self._record, self.writer.folder, total=total, left=to_judge)
        if refused := self._try_image() if left else "":
            yield from (_not_started(planned, refused) for planned in left)
        else:
            yield from self._run(deque(left), executor)

    def _plan_warm_up(self, left: list[Planned], done: Sequence[ExecutionRecord]) -> None:
        """Have the first case run twice, or, where a run ended between the two, a second time."""
        verdicts = [execution for execution in done if execution.outcome is not Outcome.INFRASTRUCTURE]
        if not verdicts and left:
            # The last attempt of a case counts; the first one tells the cold start.
            left.insert(1, Planned(left[0].case, left[0].attempt + 1))
            self._uncounted = (left[0].case.id, left[0].attempt)
        elif len(verdicts) == 1:
            again = verdicts[0]
            left.insert(0, Planned(self._cases[again.case], again.attempt + 1))

    def _try_image(self) -> str:
        """Start the image once; return why it cannot start, or nothing."""
        engine = self.bench.instruments.engine
        if not engine.facts.isolated:
            return ""
        self._stack.callback(_reap_quietly, engine, self.rules.label)
        trial = try_image(self.rules, self._opened.image, self.bench)
        self.rules = trial.rules
        return trial.refused

    def _run(self, left: deque[Planned], executor: Executor) -> Iterator[ExecutionRecord]:
        tries = dict.fromkeys(self._cases, 0)
        free = list(range(executor.slots))
        running: dict[str, int] = {}
        self._stack.enter_context(executor)
        while running or left:
            while left and free:
                planned = left.popleft()
                tries[planned.case.id] += 1
                self._observer.case_started(planned.case.id, planned.attempt)
                running[planned.case.id] = slot = free.pop(0)
                executor.submit(Job(planned.case, planned.attempt, self.rules, slot))
            execution = executor.next_result()
            free.append(running.pop(execution.case))
            yield execution
            if execution.outcome is Outcome.INFRASTRUCTURE and tries[execution.case] < ATTEMPTS:
                left.append(Planned(self._cases[execution.case], execution.attempt + 1))

    def store(self, execution: ExecutionRecord) -> None:
        """Write a case's line, and hand the case to the scorer that works beside the next one.

        Raises:
            InfrastructureError: the line says that the engine failed, and the engine is gone.
        """
        execution = self.writer.add_execution(execution)
        self._observer.case_finished(execution)
        if execution.outcome is Outcome.INFRASTRUCTURE:
            if not self.bench.instruments.engine.ping():
                raise InfrastructureError(
                    "the container engine went away",
                    where=execution.evidence.summary,
                    mend="Start it and run the same command again: finished cases are kept.",
                )
        elif self._scorer is not None and (execution.case, execution.attempt) != self._uncounted:
            self._scorer.submit(execution, self._cases[execution.case])
        self._store_scores(wait=False)

    def score(self) -> None:
        """Write every score that is missing, where the run is to be scored."""
        if not self._opened.profile:
            return
        self._store_scores(wait=True)
        score_missing(
            self.writer,
            self._cases,
            self._opened.draft.challenge,
            profile=self._opened.profile,
            observer=self._observer,
        )

    def _store_scores(self, *, wait: bool) -> None:
        if self._scorer is not None:
            for score in self._scorer.finished(wait=wait):
                self._observer.case_scored(self.writer.add_score(score))


def _not_started(planned: Planned, refused: str) -> ExecutionRecord:
    return ExecutionRecord(
        case=planned.case.id,
        attempt=planned.attempt,
        outcome=Outcome.START_FAILED,
        evidence=Evidence(summary=f"the container could not be started: {refused}"),
        started_at=datetime.now(UTC),
    )


def _reap_quietly(engine: ContainerEngine, label: str) -> None:
    """Remove what was copied for the run's containers; the next call does it if the engine is gone."""
    with suppress(HarnessError):
        engine.reap(RUN_LABEL, label)
