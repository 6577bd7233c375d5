"""Whose turn it is: the first case of each team before the second of any, then one team after the other.

So a broken image shows within minutes, not on Sunday; and who arrives while others run waits for one of them
at most, not for all.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from harness.cluster.quota import used_s
from harness.data.dataset import Fingerprinted
from harness.engine.base import ContainerEngine
from harness.errors import HarnessError, InfrastructureError
from harness.results.folder import RunResults, read_run
from harness.results.journal import CASES_FILE, read_lines
from harness.results.observer import Observer
from harness.results.records import ExecutionRecord
from harness.run.evaluate import EvaluationRequest, Run, open_run
from harness.run.workers import Threads
from harness.teams.entries import EntryTable, concluded, cut_off
from harness.teams.intake import Entered

Arrivals = Callable[[], Sequence[Entered]]


@dataclass(frozen=True)
class Progress:
    """How one call for one team ended."""

    results: RunResults
    out_of_quota: bool = False


def evaluate_in_turn(
    entered: Iterable[Entered],
    *,
    engine: ContainerEngine,
    observer: Observer,
    entries: EntryTable,
    arrivals: Arrivals = tuple,
) -> list[Path]:
    """Evaluate many teams on this host; what is stored already is not run again.

    A failure of one team's own is noted in its row, and the others go on.

    Args:
        entered: Those who were taken in, in the order of their turns.
        engine: Runs containers.
        observer: Told of what goes on.
        entries: Where each team's line is kept.
        arrivals: Called between two turns for those who came meanwhile.

    Returns:
        The folders of the runs that came to their end, in that order.

    Raises:
        InfrastructureError: the engine went away.
        KeyboardInterrupt: the same call resumes.
    """
    first, then = deque(entered), deque[Entered]()
    finished = []
    while first or then:
        is_first = bool(first)
        team = first.popleft() if first else then.popleft()
        try:
            progress = _run_team(team, engine, observer, only_first=is_first)
        except HarnessError as error:
            if not engine.ping():
                raise InfrastructureError(
                    "the container engine went away",
                    where=error.one_line(),
                    mend="Start it and run the same command again: finished cases are kept.",
                ) from error
            entries.put(cut_off(team.row, error))
            observer.note(f"{team.request.team}: {error.one_line()}; the other teams go on")
        else:
            if is_first:
                then.append(team)
            else:
                line = concluded(team.row, progress.results, out_of_quota=progress.out_of_quota)
                entries.put(line, progress.results)
                finished.append(progress.results.folder)
        first.extend(arrivals())
    return finished


def _run_team(team: Entered, engine: ContainerEngine, observer: Observer, *, only_first: bool) -> Progress:
    """Run a team's first case, unless it has one, or else what is left of it."""
    request = replace(team.request, score=team.request.score and not only_first)
    with open_run(request, engine, observer) as run:
        begun = any(True for _ in read_lines(run.writer.folder / CASES_FILE, ExecutionRecord))
        out_of_quota = False
        if not (only_first and begun):
            jobs = 1 if only_first else request.jobs
            most = (2 if request.warm_up else 1) if only_first else None
            out_of_quota = not _run_cases(run, Threads(jobs, run.bench, observer), team, most=most)
        if request.score:
            run.score()
        return Progress(read_run(run.writer.folder), out_of_quota)


def _run_cases(run: Run, threads: Threads, team: Entered, *, most: int | None) -> bool:
    """Run and store cases as far as the team's time goes; return whether it went far enough.

    Args:
        run: The team's.
        threads: What runs cases; what still runs when the time is used up is killed.
        team: Whose time it is.
        most: Run no more than this.
    """
    most_s = team.entrant.quota.time
    left = float("inf") if most_s is None else most_s - used_s(run.writer.folder)
    executions = run.cases(threads)
    for number in count():
        if number == most:
            return True
        if left <= 0:
            threads.stop()  # what is scored and told next must not wait for it
            return False
        execution = next(executions, None)
        if execution is None:
            return True
        run.store(execution)
        left -= execution.stages.run_s or 0.0
    raise AssertionError("counting has no end")


def with_known_data(requests: Iterable[EvaluationRequest]) -> Iterator[EvaluationRequest]:
    """Yield requests whose data set is hashed once for all of them."""
    known: dict[int, Fingerprinted] = {}
    for request in requests:
        dataset = request.dataset
        if id(dataset) not in known:
            known[id(dataset)] = Fingerprinted.of(dataset)
        yield replace(request, dataset=known[id(dataset)])
