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

from harness.cluster.beats import LEASE_S, Heart, Sight
from harness.cluster.identity import Holder, host_of
from harness.cluster.queue import QUEUE_FOLDER, RunQueue, Taken, offered_runs
from harness.cluster.records import Division, End
from harness.cluster.retry import MOST_IN_A_ROW
from harness.cluster.shared import SharedFolder
from harness.cluster.workshop import Bay, Workshop
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
class _Desk:
    """A run that this worker works on.

    Attributes:
        refused: Whether this host takes no case of it.
        touched: Whether a case of it was seen taken.
        failures: How many cases in a row failed here for reasons that are not the submission's.
        used_s: Seconds that containers of it ran here, but for cases that were another's when they ended.
    """

    queue: RunQueue
    bay: Bay | None = None
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
        workshop: Runs cases.
        lease_s: How long its beat may stand still.
        stop_at: `time.monotonic()` at which its host is taken away; no case is begun that may not end before.
        stays: Whether it waits for runs that will be offered.
        share: Makes the files of a queue; another one in tests.
    """

    results: Path
    holder: Holder
    workshop: Workshop
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
        self._sight = Sight(self._shared, self.lease_s)
        self._desks: dict[str, _Desk] = {}
        self._current: _Desk | None = None
        self._looked_at = float("-inf")
        with ExitStack() as stack:
            self._heart = stack.enter_context(Heart(self._shared, self.holder, self.lease_s))
            stack.callback(self._close)
            while True:
                if self._work_once():
                    continue
                if not (self.stays or self._may_get_work()):
                    return self.tally
                time.sleep(min(_POLL_S, self.lease_s / 10))

    def _work_once(self) -> bool:
        """Run one case of some run; return whether there was one."""
        for desk in self._in_turn():
            try:
                if self._may_begin(desk) and (taken := self._take(desk)) is not None:
                    self._run(desk, taken)
                    return True
            except (InfrastructureError, FileNotFoundError):
                if desk.queue.is_offered:
                    raise
                self._desks.pop(desk.queue.name)  # it was concluded, and its files went away below us
                self._put_away(desk)
        return False

    # ---- which run ---------------------------------------------------------------------------------------

    def _in_turn(self) -> Iterator[_Desk]:
        """Yield the runs to look for a case in, the untouched first: each team's first case is early."""
        desks = self._open_desks()
        untouched = [desk for desk in desks if desk is not self._current and desk.is_untouched()]
        here = [desk for desk in desks if desk is self._current]
        rest = [desk for desk in desks if desk not in untouched and desk not in here]
        # A run whose first case was run here has its image here.
        rest = sorted(self._from_mine(rest), key=lambda desk: desk.cases is None)
        yield from (*self._from_mine(untouched), *here, *rest)

    def _from_mine(self, desks: list[_Desk]) -> list[_Desk]:
        """Begin at a place of this worker's own: hosts spread over the runs, and each image goes to few."""
        turn = self._number % len(desks) if desks else 0
        return desks[turn:] + desks[:turn]

    @property
    def _number(self) -> int:
        """A number that differs from worker to worker."""
        return crc32(self.holder.worker.encode())

    def _open_desks(self) -> list[_Desk]:
        if time.monotonic() < self._looked_at + _POLL_S:
            return [desk for desk in self._desks.values() if not desk.refused]
        self._looked_at = time.monotonic()
        there = {path.name: path for path in offered_runs(self.results)}
        for name in self._desks.keys() - there.keys():
            self._put_away(self._desks.pop(name))
        for name, path in there.items():
            if name not in self._desks:
                self._desks[name] = _Desk(RunQueue(path, self.share(path)))
        return [desk for desk in self._desks.values() if not desk.refused]

    def _may_get_work(self) -> bool:
        """Whether a run may yet give this worker a case: somebody holds one, and might die."""
        desks = [desk for desk in self._open_desks() if self._may_begin(desk)]
        return any(desk.queue.wait_for_leases(self._is_dead) for desk in desks)

    def _may_begin(self, desk: _Desk) -> bool:
        """Whether there is time for a case of a run: the team's, and this host's."""
        return not desk.queue.quota.is_used_up() and self._has_time(desk)

    def _has_time(self, desk: _Desk) -> bool:
        if self.stop_at is None:
            return True
        ends_at: float = time.monotonic() + self._longest_s(desk)
        return ends_at < self.stop_at

    @staticmethod
    def _longest_s(desk: _Desk) -> float:
        return desk.queue.offer.record.limits.time_s + AROUND_A_CASE_S

    def _is_dead(self, holder: Holder) -> bool:
        return self._sight.is_dead(holder)

    # ---- one case ----------------------------------------------------------------------------------------

    def _take(self, desk: _Desk) -> Taken | None:
        if desk.bay is None and not self._sit_down(desk):
            return None
        # Many who ask at once begin at different places.
        start = self._number % max(1, len(desk.queue.offer.cases))
        taken = desk.queue.take(self.holder, self._sight, others=self._others, start=start)
        if taken is not None:
            for earlier in desk.queue.history(taken.index)[: taken.number - 1]:
                self.workshop.reap(earlier.holder)
        return taken

    def _others(self) -> bool:
        """Whether workers of other hosts seem to live."""
        return any(host_of(worker) != host_of(self.holder.worker) for worker in self._sight.living())

    def _run(self, desk: _Desk, taken: Taken) -> None:
        assert desk.bay is not None
        queue = desk.queue
        case = queue.offer.cases[taken.index].case()
        held = queue.root / "held" / taken.name
        self._heart.expect(self._longest_s(desk))
        self.observer.case_started(case.id, taken.attempt)
        held.mkdir()
        execution = self._executed(desk.bay, case, taken.attempt, held)
        self._add_time(desk, execution.stages.run_s or 0.0)  # before its end: then others go on
        score = desk.bay.score(execution, case, held)
        if self._write(desk, taken, execution, score):
            self.tally.ended += 1
            self.observer.case_finished(execution)
        else:
            self.tally.void += 1
            with suppress(InfrastructureError):  # as when the run was concluded meanwhile
                self._add_time(desk, -(execution.stages.run_s or 0.0))
            discard(held)
            if not queue.is_offered:  # it was concluded meanwhile, and these were made again here
                for folder in (held.parent, queue.root):
                    with suppress(OSError):
                        folder.rmdir()
            self.observer.note(f"{case.id} was given to another worker meanwhile; what was run here is void")
        self._heart.expect(None)
        self._mind_failures(desk, execution)

    def _add_time(self, desk: _Desk, seconds: float) -> None:
        desk.used_s += seconds
        desk.queue.quota.tell_used(self.holder.worker, desk.used_s)

    def _executed(self, bay: Bay, case: Case, attempt: int, held: Path) -> ExecutionRecord:
        """Run a case; a host that cannot run it at all has failed it, and another may try."""
        try:
            execution = bay.run(case, attempt, held)
        except HarnessError as error:
            execution = ExecutionRecord(
                case=case.id,
                attempt=attempt,
                outcome=Outcome.INFRASTRUCTURE,
                evidence=Evidence(summary=error.one_line()),
                started_at=datetime.now(UTC),
            )
        return execution.model_copy(update={"host": self.holder.host})

    def _mind_failures(self, desk: _Desk, execution: ExecutionRecord) -> None:
        """Take no more cases of a run that this host fails again and again."""
        failed = execution.outcome is Outcome.INFRASTRUCTURE
        desk.failures = desk.failures + 1 if failed else 0
        if desk.failures >= MOST_IN_A_ROW:
            self._refuse(desk, f"{desk.failures} cases in a row failed here: {execution.evidence.summary}")

    def _refuse(self, desk: _Desk, why: str) -> None:
        """Leave word that this host takes no case of a run, and leave it."""
        desk.refused = True
        desk.queue.refuse(self.holder.worker, f"{self.holder.host}: {why}")
        self.observer.note(f"no case of {desk.queue.name} is taken here: {why}")
        self._leave(desk)

    def _write(
        self, desk: _Desk, taken: Taken, execution: ExecutionRecord, score: ScoreRecord | None
    ) -> bool:
        assert desk.cases is not None
        assert desk.scores is not None
        desk.cases.append(execution)
        if score is not None:
            desk.scores.append(score)
        end = End(
            holder=self.holder,
            outcome=execution.outcome,
            execution_sha256=desk.cases.end.last_sha256,
            score_sha256=desk.scores.end.last_sha256 if score is not None else "",
        )
        return desk.queue.end(taken, end)

    # ---- opening and closing -----------------------------------------------------------------------------

    def _sit_down(self, desk: _Desk) -> bool:
        """Make a run's place ready; False if this host is none for it."""
        if self._current is not None:
            self._leave(self._current)
        try:
            offer = desk.queue.offer
            key = signing_key()
            if offer.record.key != key.id:
                raise ConfigurationError(
                    f"the run is sealed with the key {offer.record.key}, this host has {key.id}",
                    mend="Give all hosts one key: FLAREHARNESS_KEY, or ~/.config/flareharness/key.",
                )
            bay = self.workshop.open(offer, self.observer)
            ours = bay.division
            check_division(ours, desk.queue.found_division(ours))
        except HarnessError as error:
            self.workshop.close()
            self._refuse(desk, error.one_line())
            return False
        start = desk.queue.start
        journals = desk.queue.root / "journals"
        if desk.cases is None:
            name = self.holder.worker
            desk.cases = Journal(journals / f"{name}.cases.jsonl", start=start, key=key)
            desk.scores = Journal(journals / f"{name}.scores.jsonl", start=start, key=key)
            write_host(desk.queue, self.holder, ours)
        desk.bay, self._current = bay, desk
        return True

    def _leave(self, desk: _Desk) -> None:
        """Leave a run's place for another run's."""
        if desk is self._current:
            self.workshop.close()
            self._current = None
        desk.bay = None

    def _put_away(self, desk: _Desk) -> None:
        """Leave a run for good; if it is over, what it left on this host goes, too."""
        self._leave(desk)
        if desk.cases is not None and desk.queue.is_over():
            self.workshop.forget(desk.queue.offer)
        for journal in (desk.cases, desk.scores):
            if journal is not None:
                journal.close()

    def _close(self) -> None:
        for desk in self._desks.values():
            with suppress(InfrastructureError):
                self._put_away(desk)


def check_division(ours: Division, theirs: Division) -> None:
    """Check that a host is like those that a run is made on.

    Raises:
        ConfigurationError: it is of another kind; see `HostFacts.likeness`.
    """
    if unlike := ours.host.unlike(theirs.host):
        raise ConfigurationError(
            f"this host is unlike those that the run is made on ({'; '.join(unlike)})",
            mend="Times of unlike hosts are not mixed in one run: keep to hosts of one kind.",
        )


def write_host(queue: RunQueue, holder: Holder, division: Division) -> None:
    """Leave word of a host that works on a run, with its speed."""
    queue.shared.put_new(f"journals/{holder.worker}.host.json", division.model_dump_json().encode())
