"""Threads that run cases, so that signals and the journal stay with the caller."""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from harness.results.observer import Observer
from harness.results.plan import Planned
from harness.results.records import ExecutionRecord
from harness.run.context import RunContext
from harness.run.execute import execute_case
from harness.run.watch import Interrupted

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Workers:
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
                    stage_changed=lambda stage, case=case: self._observer.case_stage(case.id, stage),  # type: ignore[misc]
                    stopping=self._stopping,
                )
            except Interrupted:
                return
            except BaseException as error:
                result = error
            self._results.put(result)

    def __enter__(self) -> Workers:
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
