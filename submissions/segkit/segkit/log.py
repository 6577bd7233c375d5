"""What the submissions' code tells of its progress. A program decides whether anybody sees it."""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("segkit")


class _ToStderr(logging.Handler):
    """Each message as one plain line on what is standard error at that moment."""

    def emit(self, record: logging.LogRecord) -> None:
        print(record.getMessage(), file=sys.stderr, flush=True)


def show(*, quiet: bool = False) -> None:
    """Show what is told from now on; a program calls it first.

    Args:
        quiet: Only what went wrong.
    """
    if not any(isinstance(handler, _ToStderr) for handler in log.handlers):
        log.addHandler(_ToStderr())
        log.propagate = False
    log.setLevel(logging.WARNING if quiet else logging.INFO)
