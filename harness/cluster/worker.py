"""One worker: takes a case, runs it as one machine would, writes it down, and puts its end.

    for each run that is offered, and each case of it that can be taken:
        lease        (harness.cluster.queue)
        run, score   into held/, which nobody else writes
        journals     of this worker alone, each line on the disk
        end          with the hashes of the lines; if the case is another's by now, they count for nothing

Killed anywhere, it leaves at most one case that somebody takes again. Nothing else has to know of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from zlib import crc32

from harness.cluster.division import check_division, write_host
from harness.cluster.heartbeat import LEASE_S, Heartbeat, Liveness
from harness.cluster.host_runner import CaseRunner, HostRunner
from harness.cluster.identity import Holder, host_of
from harness.cluster.queue import QUEUE_FOLDER, RunQueue, Taken, offered_runs
from harness.cluster.records import End
from harness.cluster.retry import MOST_IN_A_ROW
from harness.cluster.shared import SharedFolder
from harness.data.dataset import Case
from harness.errors import ConfigurationError, HarnessError, InfrastructureError
from harness.results.journal import Journal
from harness.results.key import signing_key
from harness.results.observer import Observer
from harness.results.records import Evidence, ExecutionRecord, Outcome, ScoreRecord
from harness.run.stage import discard

AROUND_A_CASE_S = 600.0
"""What staging, the gate and scoring may take beside the time limit of a case."""
_POLL_S = 1.0


@dataclass
class _WorkerRun:
    """A run that this worker works on.

    Attributes:
        refused: Whether this host takes no case of it.
        touched: Whether a case of it was seen taken.
        failures: How many cases in a row failed here for reasons that are not the submission's.
        used_s: Seconds that containers of it ran here, but for cases that were another's when they ended.
    """

    queue: RunQueue
    runner: CaseRunner | None = None
    cases: Journal[ExecutionRecord] | None = None
    scores: Journal[ScoreRecord] | None = None
    refused: bool = False
    touched: bool = False
    failures: int = 0
    used_s: float = 0.0

    def is_untouched(self) -> bool:
        """Whether no case of it was ever taken; looked at only as long as that is so."""
        self.touched = self.touched or not self.queue.untouched()
        return not self.touched


@dataclass
class Tally:
    """What a worker did.

    Attributes:
        void: Cases that were another's when they ended.
    """

    ended: int = 0
    void: int = 0


@dataclass
class Worker:
    """Takes cases of the runs that a results folder offers.

    Attributes:
        results: The folder.
        holder: Who it is.
        host_runner: Runs cases.
        lease_s: How long its beat may stand still.
        stop_at: `time.monotonic()` at which its host is taken away; no case is begun that may not end before.
        stays: Whether it waits for runs that will be offered.
        share: Makes the files of a queue; another one in tests.
    """

    results: Path
    holder: Holder
    host_runner: HostRunner
    observer: Observer
    lease_s: float = LEASE_S
    stop_at: float | None = None
    stays: bool = False
    share: Callable[[Path], SharedFolder] = SharedFolder
    tally: Tally = field(default_factory=Tally)

    def work(self) -> Tally:
        """Take cases until none is left for this worker.

        Raises:
            InfrastructureError: the queue's disk is full or failing. Whoever lives takes the case.
            KeyboardInterrupt: no container is left, and the case is another's.
        """
        root = self.results / QUEUE_FOLDER
        self._shared = self.share(root)
        self._liveness = Liveness(self._shared, self.lease_s)
        self._runs: dict[str, _WorkerRun] = {}
        self._current: _WorkerRun | None = None
        self._looked_at = float("-inf")
        with ExitStack() as stack:
            self._heartbeat = stack.enter_context(Heartbeat(self._shared, self.holder, self.lease_s))
            stack.callback(self._close)
            while True:
                if self._work_once():
                    continue
                if not (self.stays or self._may_get_work()):
                    return self.tally
                time.sleep(min(_POLL_S, self.lease_s / 10))

    def _work_once(self) -> bool:
        """Run one case of some run; return whether there was one."""
        for run in self._in_turn():
            try:
                if self._may_begin(run) and (taken := self._take(run)) is not None:
                    self._run_case(run, taken)
                    return True
            except (InfrastructureError, FileNotFoundError):
                if run.queue.is_offered:
                    raise
                self._runs.pop(run.queue.name)  # it was concluded, and its files went away below us
                self._leave_for_good(run)
        return False

    # ---- which run ---------------------------------------------------------------------------------------

    def _in_turn(self) -> Iterator[_WorkerRun]:
        """Yield the runs to look for a case in, the untouched first: each team's first case is early."""
        runs = self._offered()
        untouched = [run for run in runs if run is not self._current and run.is_untouched()]
        here = [run for run in runs if run is self._current]
        rest = [run for run in runs if run not in untouched and run not in here]
        # A run whose first case was run here has its image here.
        rest = sorted(self._from_mine(rest), key=lambda run: run.cases is None)
        yield from (*self._from_mine(untouched), *here, *rest)

    def _from_mine(self, runs: list[_WorkerRun]) -> list[_WorkerRun]:
        """Begin at a place of this worker's own: hosts spread over the runs, and each image goes to few."""
        turn = self._number % len(runs) if runs else 0
        return runs[turn:] + runs[:turn]

    @property
    def _number(self) -> int:
        """A number that differs from worker to worker."""
        return crc32(self.holder.worker.encode())

    def _offered(self) -> list[_WorkerRun]:
        if time.monotonic() < self._looked_at + _POLL_S:
            return [run for run in self._runs.values() if not run.refused]
        self._looked_at = time.monotonic()
        there = {path.name: path for path in offered_runs(self.results)}
        for name in self._runs.keys() - there.keys():
            self._leave_for_good(self._runs.pop(name))
        for name, path in there.items():
            if name not in self._runs:
                self._runs[name] = _WorkerRun(RunQueue(path, self.share(path)))
        return [run for run in self._runs.values() if not run.refused]

    def _may_get_work(self) -> bool:
        """Whether a run may yet give this worker a case: somebody holds one, and might die."""
        runs = [run for run in self._offered() if self._may_begin(run)]
        return any(run.queue.wait_for_leases(self._is_dead) for run in runs)

    def _may_begin(self, run: _WorkerRun) -> bool:
        """Whether there is time for a case of a run: the team's, and this host's."""
        return not run.queue.quota.is_used_up() and self._has_time(run)

    def _has_time(self, run: _WorkerRun) -> bool:
        if self.stop_at is None:
            return True
        ends_at: float = time.monotonic() + self._longest_s(run)
        return ends_at < self.stop_at

    @staticmethod
    def _longest_s(run: _WorkerRun) -> float:
        return run.queue.offer.record.limits.time_s + AROUND_A_CASE_S

    def _is_dead(self, holder: Holder) -> bool:
        return self._liveness.is_dead(holder)

    # ---- one case ----------------------------------------------------------------------------------------

    def _take(self, run: _WorkerRun) -> Taken | None:
        if run.runner is None and not self._open(run):
            return None
        # Many who ask at once begin at different places.
        start = self._number % max(1, len(run.queue.offer.cases))
        taken = run.queue.take(self.holder, self._liveness, others=self._others, start=start)
        if taken is not None:
            for earlier in run.queue.history(taken.index)[: taken.number - 1]:
                self.host_runner.reap(earlier.holder)
        return taken

    def _others(self) -> bool:
        """Whether workers of other hosts seem to live."""
        return any(host_of(worker) != host_of(self.holder.worker) for worker in self._liveness.living())

    def _run_case(self, run: _WorkerRun, taken: Taken) -> None:
        assert run.runner is not None
        queue = run.queue
        case = queue.offer.cases[taken.index].case()
        held = queue.root / "held" / taken.name
        self._heartbeat.expect(self._longest_s(run))
        self.observer.case_started(case.id, taken.attempt)
        held.mkdir()
        execution = self._executed(run.runner, case, taken.attempt, held)
        self._add_time(run, execution.stages.run_s or 0.0)  # before its end: then others go on
        score = run.runner.score(execution, case, held)
        if self._write(run, taken, execution, score):
            self.tally.ended += 1
            self.observer.case_finished(execution)
        else:
            self.tally.void += 1
            with suppress(InfrastructureError):  # as when the run was concluded meanwhile
                self._add_time(run, -(execution.stages.run_s or 0.0))
            discard(held)
            if not queue.is_offered:  # it was concluded meanwhile, and these were made again here
                for folder in (held.parent, queue.root):
                    with suppress(OSError):
                        folder.rmdir()
            self.observer.note(f"{case.id} was given to another worker meanwhile; what was run here is void")
        self._heartbeat.expect(None)
        self._mind_failures(run, execution)

    def _add_time(self, run: _WorkerRun, seconds: float) -> None:
        run.used_s += seconds
        run.queue.quota.tell_used(self.holder.worker, run.used_s)

    def _executed(self, runner: CaseRunner, case: Case, attempt: int, held: Path) -> ExecutionRecord:
        """Run a case; a host that cannot run it at all has failed it, and another may try."""
        try:
            execution = runner.run(case, attempt, held)
        except HarnessError as error:
            execution = ExecutionRecord(
                case=case.id,
                attempt=attempt,
                outcome=Outcome.INFRASTRUCTURE,
                evidence=Evidence(summary=error.one_line()),
                started_at=datetime.now(UTC),
            )
        return execution.model_copy(update={"host": self.holder.host})

    def _mind_failures(self, run: _WorkerRun, execution: ExecutionRecord) -> None:
        """Take no more cases of a run that this host fails again and again."""
        failed = execution.outcome is Outcome.INFRASTRUCTURE
        run.failures = run.failures + 1 if failed else 0
        if run.failures >= MOST_IN_A_ROW:
            self._refuse(run, f"{run.failures} cases in a row failed here: {execution.evidence.summary}")

    def _refuse(self, run: _WorkerRun, why: str) -> None:
        """Leave word that this host takes no case of a run, and leave it."""
        run.refused = True
        run.queue.refuse(self.holder.worker, f"{self.holder.host}: {why}")
        self.observer.note(f"no case of {run.queue.name} is taken here: {why}")
        self._leave(run)

    def _write(
        self, run: _WorkerRun, taken: Taken, execution: ExecutionRecord, score: ScoreRecord | None
    ) -> bool:
        assert run.cases is not None
        assert run.scores is not None
        run.cases.append(execution)
        if score is not None:
            run.scores.append(score)
        end = End(
            holder=self.holder,
            outcome=execution.outcome,
            execution_sha256=run.cases.end.last_sha256,
            score_sha256=run.scores.end.last_sha256 if score is not None else "",
        )
        return run.queue.end(taken, end)

    # ---- opening and closing -----------------------------------------------------------------------------

    def _open(self, run: _WorkerRun) -> bool:
        """Make a run's place ready; False if this host is none for it."""
        if self._current is not None:
            self._leave(self._current)
        try:
            offer = run.queue.offer
            key = signing_key()
            if offer.record.key != key.id:
                raise ConfigurationError(
                    f"the run is sealed with the key {offer.record.key}, this host has {key.id}",
                    mend="Give all hosts one key: FLAREHARNESS_KEY, or ~/.config/flareharness/key.",
                )
            runner = self.host_runner.open(offer, self.observer)
            ours = runner.division
            check_division(ours, run.queue.found_division(ours))
        except HarnessError as error:
            self.host_runner.close()
            self._refuse(run, error.one_line())
            return False
        start = run.queue.start
        journals = run.queue.root / "journals"
        if run.cases is None:
            name = self.holder.worker
            run.cases = Journal(journals / f"{name}.cases.jsonl", start=start, key=key)
            run.scores = Journal(journals / f"{name}.scores.jsonl", start=start, key=key)
            write_host(run.queue, self.holder, ours)
        run.runner, self._current = runner, run
        return True

    def _leave(self, run: _WorkerRun) -> None:
        """Leave a run's place for another run's."""
        if run is self._current:
            self.host_runner.close()
            self._current = None
        run.runner = None

    def _leave_for_good(self, run: _WorkerRun) -> None:
        """Leave a run for good; if it is over, what it left on this host goes, too."""
        self._leave(run)
        if run.cases is not None and run.queue.is_over():
            self.host_runner.forget(run.queue.offer)
        for journal in (run.cases, run.scores):
            if journal is not None:
                journal.close()

    def _close(self) -> None:
        for run in self._runs.values():
            with suppress(InfrastructureError):
                self._leave_for_good(run)
