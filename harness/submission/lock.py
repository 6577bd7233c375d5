"""One build at a time on a host: a second would fetch the same wheels and drop the first one's stages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import PrerequisiteError
from harness.results.lock import FileLock
from harness.submission.image import Progress
from harness.submission.recipes import cache_folder


@contextmanager
def build_lock(progress: Progress) -> Iterator[None]:
    """Hold the host's build lock, waiting for another build to end. The kernel frees it if we die.

    Raises:
        PrerequisiteError: the cache folder cannot be written.
        InfrastructureError: its disk knows no locks.
    """
    lock = FileLock(cache_folder() / "build.lock")
    try:
        lock.take(lambda holder: progress("another build is under way on this host; waiting for it"))
    except OSError as error:
        raise PrerequisiteError(
            f"the cache folder cannot be written: {error.strerror}",
            where=lock.path.parent,
            mend="Set FLAREHARNESS_CACHE to a folder of yours.",
        ) from error
    try:
        yield
    finally:
        lock.release()
