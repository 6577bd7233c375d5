"""Score a case while the next one runs, on cores that the judged container may not use.

Only on request, and only where the challenge's quota leaves cores over: a container is then kept to its
own cores by cpuset, and the scoring process to the others. By default scoring waits until nothing runs.
"""

from __future__ import annotations

import math
import multiprocessing
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import Self

from harness.challenge import Challenge
from harness.data.dataset import Case
from harness.errors import ConfigurationError
from harness.results.records import ExecutionRecord, ScoreRecord
from harness.scoring.score import score_execution


def split_cores(cores: set[int], *, cpus: float | None, jobs: int) -> tuple[list[int], list[int]]:
    """Return the cores of the judged containers and the cores left for scoring.

    Args:
        cores: Cores that this process may use.
        cpus: The challenge's quota.
        jobs: Containers at once.

    Raises:
        ConfigurationError: no core is left over.
    """
    needed = math.ceil(cpus) * jobs if cpus is not None else len(cores)
    ordered = sorted(cores)
    judged, left = ordered[:needed], ordered[needed:]
    if not left:
        raise ConfigurationError(
            f"no core is left for scoring: {len(cores)} are there and containers may use "
            f"{'all' if cpus is None else needed}",
            mend="Score after running, or set the challenge's `cpus` below the host's cores.",
        )
    return judged, left


class OverlappedScorer:
    """A process on the spare cores that scores one case at a time."""

    def __init__(self, cores: list[int], *, challenge: Challenge, folder: Path, profile: str) -> None:
        self._challenge = challenge
        self._folder = folder
        self._profile = profile
        self._pool = ProcessPoolExecutor(
            1, multiprocessing.get_context("spawn"), initializer=_stay_on, initargs=(cores,)
        )
        self._waiting: deque[Future[ScoreRecord]] = deque()

    def submit(self, execution: ExecutionRecord, case: Case) -> None:
        """Queue a case."""
        self._waiting.append(
            self._pool.submit(
                score_execution,
                execution,
                case,
                challenge=self._challenge,
                folder=self._folder,
                profile=self._profile,
            )
        )

    def finished(self, *, wait: bool = False) -> Iterator[ScoreRecord]:
        """Yield the scores that are there, in the order of submission; all of them with `wait`."""
        while self._waiting and (wait or self._waiting[0].done()):
            yield self._waiting.popleft().result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)


def _stay_on(cores: list[int]) -> None:
    os.sched_setaffinity(0, cores)
