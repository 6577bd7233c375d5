"""Whether a container filled its /tmp or /dev/shm: looked at from outside, also after it is gone."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import Self

_NEARLY_BYTES = 64 * 1024


class ScratchMemory:
    """Holds on to the tmpfs folders of a container, so that they can be asked for their state at the end.

    Args:
        pid: A process of the container, as this host numbers it.
        sizes_bytes: The folders, by path in the container, and their sizes. One of another size is some
            other file system and is left out.
    """

    def __init__(self, pid: int | None, sizes_bytes: Mapping[str, int]) -> None:
        self._open: dict[str, int] = {}
        self._full: dict[str, int] = {}
        for path, size in sizes_bytes.items() if pid is not None else ():
            with contextlib.suppress(OSError):
                descriptor = os.open(f"/proc/{pid}/root{path}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                state = os.fstatvfs(descriptor)
                if abs(state.f_blocks * state.f_frsize - size) <= state.f_frsize:
                    self._open[path] = descriptor
                else:
                    os.close(descriptor)

    def look(self) -> None:
        """Note which of them is full now."""
        for path, descriptor in self._open.items():
            state = os.fstatvfs(descriptor)
            if state.f_bavail * state.f_frsize < _NEARLY_BYTES or state.f_favail == 0 < state.f_files:
                self._full[path] = state.f_blocks * state.f_frsize

    @property
    def full(self) -> dict[str, int]:
        """Those that were full at some look, and their sizes in bytes."""
        return dict(self._full)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()
