"""The peak of a cgroup's working set: anonymous, shared and kernel memory, without the cache of files.

The kernel keeps the peak of all memory, and how much of it is file cache depends on what the host had read
before: the same case of the same image shows 426 MiB or 797 MiB. It keeps no peak without the cache, but one
of its counters can be set back, and then holds the peak since then. So each look closes a short interval:

    usage    __/\\____/\\_        what the counter saw as the interval's peak
    cache    ____-----          what the stat file says at both ends

and the interval's peak less the larger cache of its two ends is what the working set reached at least. While
the cache stands still, which it does while a method computes, that is exact, however short the peak was.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

WorkingSetMethod = Literal["interval-peaks", "sampled-lower-bound"]


def file_cache_bytes(stat: Mapping[str, int], version: Literal[1, 2]) -> int:
    """Return the cache of files on disks; tmpfs, which the kernel counts with it, is shared memory.

    Args:
        stat: What `memory.stat` holds.
        version: Of the control groups.
    """
    cache, shared = ("total_cache", "total_shmem") if version == 1 else ("file", "shmem")
    return max(0, stat.get(cache, 0) - stat.get(shared, 0))


class Counter(Protocol):
    """A counter of memory that keeps its peak and can be set back."""

    def peak_since_reset(self) -> int | None:
        """Return the peak since the last call, and set it back; None where that cannot be done."""

    def close(self) -> None:
        """Let go of what is open."""


class SwapCounter:
    """Version 1: memory and swap together, a counter of its own, so that the peak of memory stays whole.

    Swap is off for containers, so both count the same.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "memory.memsw.max_usage_in_bytes"

    def peak_since_reset(self) -> int | None:
        """See `Counter`."""
        try:
            peak = int(self._path.read_text())
            self._path.write_text("0")
        except (OSError, ValueError):
            return None
        return peak

    def close(self) -> None:
        """Nothing is open."""


class OpenPeak:
    """Version 2: writing to an open `memory.peak` sets it back for that descriptor alone, from Linux 6.12."""

    def __init__(self, folder: Path) -> None:
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open(folder / "memory.peak", os.O_RDWR)

    def peak_since_reset(self) -> int | None:
        """See `Counter`."""
        if self._descriptor is None:
            return None
        try:
            peak = int(os.pread(self._descriptor, 64, 0))
            os.pwrite(self._descriptor, b"0\n", 0)
        except (OSError, ValueError):
            return None
        return peak

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class WorkingSetPeak:
    """The largest working set so far, from looks at short intervals.

    Args:
        counter: Of all memory.
    """

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._cache_before: int | None = None
        self._peak: int | None = None
        self._whole = True

    def look(self, *, working_set_bytes: int, cache_bytes: int) -> None:
        """Close an interval.

        Args:
            working_set_bytes: The working set now.
            cache_bytes: The cache of files now.
        """
        reached = self._counter.peak_since_reset()
        self._whole = self._whole and reached is not None
        # Before the first look the cache can have been no larger than it is: nothing was running yet.
        larger = max(cache_bytes, self._cache_before or 0)
        at_least = 0 if reached is None else reached - larger
        self._peak = max(self._peak or 0, working_set_bytes, at_least)
        self._cache_before = cache_bytes

    @property
    def result(self) -> tuple[int, WorkingSetMethod] | None:
        """The peak and how it was found; None before the first look."""
        if self._peak is None:
            return None
        return self._peak, "interval-peaks" if self._whole else "sampled-lower-bound"

    def close(self) -> None:
        """Let go of the counter."""
        self._counter.close()
