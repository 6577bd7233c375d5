"""What a person sees while work goes on: data goes to stdout, everything else to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from harness.text import printable

_muted = False

PLAIN_INTERVAL_S = 5.0
"""How often a progress line is written where stderr is not a terminal."""


def stdout() -> Console:
    """Return the console for data. It honours NO_COLOR; a pipe gets wide lines."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else 200)


def stderr() -> Console:
    """Return the console for progress and messages."""
    return Console(file=sys.stderr, width=None if sys.stderr.isatty() else 200, highlight=False)


def mute(*, muted: bool) -> None:
    """Leave out progress and messages from now on (`--quiet`); errors and data are still written."""
    global _muted
    _muted = muted


def is_muted() -> bool:
    """Whether progress and messages are left out."""
    return _muted


def say(text: str, *, always: bool = False) -> None:
    """Write one message line to stderr, as it is: brackets are not markup. `always` is for errors."""
    if _muted and not always:
        return
    stderr().print(printable(text), markup=False, soft_wrap=True)


class Advance(Protocol):
    """Called with what is done and what there is in all."""

    def __call__(self, done: int, total: int, /) -> None:
        """Report progress."""


@contextmanager
def progress(title: str) -> Iterator[Advance]:
    """Show a bar on a terminal, and a plain line every few seconds elsewhere."""
    if sys.stderr.isatty() and not _muted:
        with _bar(title) as advance:
            yield advance
    else:
        yield plain_progress(title)


@contextmanager
def _bar(title: str) -> Iterator[Advance]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=stderr(), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def advance(done: int, total: int, /) -> None:
            bar.update(task, completed=done, total=total)

        yield advance


def plain_progress(title: str) -> Advance:
    """Return a callback that writes a line now and then, and one at the end."""
    last, ended = float("-inf"), False

    def advance(done: int, total: int, /) -> None:
        nonlocal last, ended
        now = time.monotonic()
        if (done == total and not ended) or (done < total and now - last >= PLAIN_INTERVAL_S):
            last, ended = now, done == total
            say(f"{title}: {done}/{total}")

    return advance
