"""Memory for volumes that is used again: fresh pages cost more than the decompression that fills them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

KEPT_BYTES = 512 * 2**20
"""How much memory `score_case` keeps between calls, at most; `score_folder` gives everything back."""


class BufferPool:
    """Lends byte buffers and keeps those that come back, up to a limit; for any number of threads."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._free: list[NDArray[np.uint8]] = []
        self._lock = threading.Lock()

    @contextmanager
    def lend(self) -> Iterator[Lease]:
        """Give a lease whose buffers come back at the end of the block; nothing may refer to them then."""
        lease = Lease(self)
        try:
            yield lease
        finally:
            with self._lock:
                self._free += lease.taken
                self._free.sort(key=len)
                while self._free and sum(map(len, self._free)) > self._kept_bytes:
                    self._free.pop(0)

    def _take(self, length: int) -> NDArray[np.uint8]:
        with self._lock:
            for index, buffer in enumerate(self._free):
                if len(buffer) >= length:
                    return self._free.pop(index)
            if self._free:
                # Too small for this volume, so likely for the next ones: make room for a larger one.
                self._free.pop(0)
        return np.empty(length, np.uint8)

    def clear(self) -> None:
        """Give the kept memory back to the system."""
        with self._lock:
            self._free.clear()


class Lease:
    """The buffers of one piece of work."""

    def __init__(self, pool: BufferPool) -> None:
        self._pool = pool
        self.taken: list[NDArray[np.uint8]] = []

    def allocate(self, length: int) -> NDArray[np.uint8]:
        """Return a buffer of at least `length` bytes."""
        buffer = self._pool._take(length)
        self.taken.append(buffer)
        return buffer
