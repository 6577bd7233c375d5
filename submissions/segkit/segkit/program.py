"""What every program of a submission does around its work: lines on stderr, and an exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable

from segkit import log
from segkit.errors import SegkitError

STOPPED = "stopped; the same command goes on from where it was"


def run_program(
    work: Callable[[], int | None],
    *,
    stopped: str = STOPPED,
    errors: tuple[type[Exception], ...] = (SegkitError,),
    quiet: bool = False,
) -> int:
    """Do a program's work; what a person can mend is one line and no traceback.

    A scheduler's polite kill (SIGTERM) stops it like Ctrl-C.

    Args:
        work: Returns the exit code, or None for 0.
        stopped: Said when it was stopped.
        errors: What counts as a refusal.
        quiet: Tell only of what went wrong.

    Returns:
        The exit code: that of the work, 2 after a refusal, 130 when stopped.
    """
    log.show(quiet=quiet)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return work() or 0
    except KeyboardInterrupt:
        log.log.info(stopped)
        return 130
    except errors as error:
        log.log.error(f"error: {error}")
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)
