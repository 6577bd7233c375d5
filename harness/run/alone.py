"""One harness measures at a time on a host: two beside each other would slow each other's containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.engine.cache import cache_folder
from harness.errors import InfrastructureError
from harness.results.lock import FileLock
from harness.results.observer import Observer


def lock_file() -> Path:
    """Return the file that harnesses of one host lock: FLAREHARNESS_HOST_LOCK, or one in the user's cache."""
    chosen = os.environ.get("FLAREHARNESS_HOST_LOCK")
    return Path(chosen) if chosen else cache_folder() / "measuring.lock"


@contextmanager
def alone_on_this_host(observer: Observer) -> Iterator[None]:
    """Hold the host's lock, waiting for another harness to end. The kernel frees it if we die.

    Args:
        observer: Told that it waits, or that the lock cannot be had.

    Raises:
        InfrastructureError: this process holds it already, or its disk knows no locks.
    """
    lock = FileLock(lock_file())

    def wait_for(holder: str) -> None:
        if holder == str(os.getpid()):
            raise InfrastructureError("this process measures already", mend="Evaluate one after the other.")
        named = f" (process {holder})" if holder else ""
        observer.note(f"another harness measures on this host{named}; waiting for it")

    try:
        lock.take(wait_for)
    except OSError as error:
        observer.note(f"other harnesses are not kept off this host: {lock.path}: {error.strerror}")
    try:
        yield
    finally:
        lock.release()
