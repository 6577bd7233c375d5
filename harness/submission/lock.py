"""One build at a time on a host: a second would fetch the same wheels and drop the first one's stages."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager

from harness.engine.cache import made_cache_folder, unwritable
from harness.submission.image import Progress


@contextmanager
def build_lock(progress: Progress) -> Iterator[None]:
    """Hold the host's build lock, waiting for another build to end. The kernel frees it if we die.

    Raises:
        PrerequisiteError: the cache folder cannot be written.
    """
    path = made_cache_folder() / "build.lock"
    try:
        file = path.open("w")
    except OSError as error:
        raise unwritable(error) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("another build is under way on this host; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
