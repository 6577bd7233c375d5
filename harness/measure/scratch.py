"""Whether a container filled its /tmp or /dev/shm: looked at from outside, also after it is gone."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

_NEARLY_BYTES = 64 * 1024
_SEEK_INTERVAL_S = 0.002


class ScratchMemory:
    """Holds on to the tmpfs folders of a container, so that they can be asked for their state at the end.

    Args:
        pids: Returns the container's processes, as this host numbers them.
        sizes_bytes: The folders, by path in the container, and their sizes. One of another size is some
            other file system and is left out.
    """

    def __init__(self, pids: Callable[[], Iterable[int]], sizes_bytes: Mapping[str, int]) -> None:
        self._pids = pids
        self._missing = dict(sizes_bytes)
        self._open: dict[str, int] = {}
        self._full: dict[str, int] = {}

    @contextlib.contextmanager
    def sought(self) -> Iterator[None]:
        """Look for the folders meanwhile: a container may be over before its start is answered."""
        done = threading.Event()

        def seek() -> None:
            while self._missing and not done.wait(_SEEK_INTERVAL_S):
                self._seek()

        thread = threading.Thread(target=seek, daemon=True, name="scratch")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def look(self) -> None:
        """Note which of them is full now."""
        if self._missing:
            self._seek()
        for path, descriptor in self._open.items():
            state = os.fstatvfs(descriptor)
            if state.f_bavail * state.f_frsize < _NEARLY_BYTES or state.f_favail == 0 < state.f_files:
                self._full[path] = state.f_blocks * state.f_frsize

    @property
    def full(self) -> dict[str, int]:
        """Those that were full at some look, and their sizes in bytes."""
        return dict(self._full)

    def _seek(self) -> None:
        for pid in self._pids():
            for path, size in list(self._missing.items()):
                with contextlib.suppress(OSError):
                    self._take(path, f"/proc/{pid}/root{path}", size)

    def _take(self, path: str, seen_as: str, size: int) -> None:
        descriptor = os.open(seen_as, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        state = os.fstatvfs(descriptor)
        is_its_own = abs(state.f_blocks * state.f_frsize - size) <= state.f_frsize and not _is_ours(
            path, os.fstat(descriptor).st_dev
        )
        if is_its_own:
            self._open[path] = descriptor
            del self._missing[path]
        else:
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()


def _is_ours(path: str, device: int) -> bool:
    """Whether a folder is this host's own: so it is for a process that has not entered its container yet."""
    with contextlib.suppress(OSError):
        return Path(path).stat().st_dev == device
    return False
