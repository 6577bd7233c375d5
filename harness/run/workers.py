"""Who runs the jobs: threads of this process here, so that signals and the journal stay with the caller."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Protocol, Self

from harness.results.observer import Observer
from harness.results.records import ExecutionRecord
from harness.run.context import Bench, Job
from harness.run.execute import execute_case
from harness.run.watch import Interrupted

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Executor(Protocol):
    """Runs jobs somewhere. Entered before the first one; leaving it kills whatever still runs.

    A job is plain data, so it may run in a thread, in another process or on another machine: whoever runs
    it makes a `Bench` of its own there and calls `execute_case`.
    """

    @property
    def slots(self) -> int:
        """How many jobs run at once."""

    def submit(self, job: Job) -> None:
        """Start a job; at most `slots` are under way."""

    def next_result(self) -> ExecutionRecord:
        """Wait for the next job to end. Raises what it raised."""

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(self, *_: object) -> None:
        """End what runs."""


class Threads:
    """Threads of this process that each run one case at a time, on one bench."""

    def __init__(self, slots: int, bench: Bench, observer: Observer) -> None:
        self.slots = slots
        self._bench = bench
        self._observer = observer
        self._todo: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[ExecutionRecord | BaseException] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._work, name=f"case-{n}") for n in range(slots)]

    def submit(self, job: Job) -> None:
        """See `Executor.submit`."""
        self._todo.put(job)

    def next_result(self) -> ExecutionRecord:
        """See `Executor.next_result`."""
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
        while (job := self._todo.get()) is not None and not self._stopping.is_set():
            try:
                result: ExecutionRecord | BaseException = self._execute(job)
            except Interrupted:
                return
            except BaseException as error:
                result = error
            self._results.put(result)

    def _execute(self, job: Job) -> ExecutionRecord:
        return execute_case(
            job,
            bench=self._bench,
            stage_changed=lambda stage: self._observer.case_stage(job.case.id, stage),
            stopping=self._stopping,
        )

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Kill whatever still runs, and take no more jobs."""
        self._stopping.set()
        for _thread in self._threads:
            self._todo.put(None)
        with _signals_held():
            for thread in self._threads:
                if thread.ident is not None:
                    thread.join()


@contextmanager
def terminate_like_interrupt() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt, as SIGINT does, so that all of them clean up."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    # Under nohup a lost terminal is to be ignored, and stays so.
    numbers = [n for n in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Ignore SIGINT, SIGTERM and SIGHUP: an impatient second ^C must not leave a container behind.

    They are ignored and not blocked: a blocked signal is delivered to another thread, and Python then
    still raises in this one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
