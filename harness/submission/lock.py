"""One build at a time on a host: a second would fetch the same wheels and drop the first one's stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.engine.cache import made_cache_folder, unwritable
from harness.results.lock import FileLock
from harness.submission.image import Progress


@contextmanager
def build_lock(progress: Progress) -> Iterator[None]:
    """Hold the host's build lock, waiting for another build to end. The kernel frees it if we die.

    Raises:
        PrerequisiteError: the cache folder cannot be written.
        InfrastructureError: its disk knows no locks.
    """
    lock = FileLock(made_cache_folder() / "build.lock")
    try:
        lock.take(lambda holder: progress("another build is under way on this host; waiting for it"))
    except OSError as error:
        raise unwritable(error) from error
    try:
        yield
    finally:
        lock.release()
