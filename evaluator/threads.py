"""Spreading work over the cores that this process may use."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def spread(function: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Return the function's results in the order of the items, worked out by so many threads."""
    return map(function, items) if threads == 1 else _pool(threads, os.getpid()).map(function, items)


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Return the threads of this process, for a forked process inherits none."""
    return ThreadPoolExecutor(threads, thread_name_prefix="evaluator")
