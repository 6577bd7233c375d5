"""What a running container writes: counted rarely enough to cost it nothing that matters."""

from __future__ import annotations

import threading
import time

from harness.engine.base import Container
from harness.errors import InfrastructureError
from harness.gate.harvest import Census, take_census
from harness.measure.descriptors import deleted_bytes
from harness.run.context import Meter
from harness.run.outcome import OUTPUT_ENTRIES_LIMIT, Stop
from harness.run.space import used_bytes
from harness.run.stage import Stage

_SCAN_SHARE = 0.02
_SIZE_INTERVAL_S = 1.0
_MOST_DESCRIPTORS = 20_000


def bytes_before(stage: Stage) -> int:
    """Return what a stage holds that its container did not write: to be asked before it is started."""
    return used_bytes(stage.space) if stage.bounded else _listed_bytes(stage, _census_of(stage))


def _census_of(stage: Stage) -> Census:
    return take_census(stage.outputs, most_entries=OUTPUT_ENTRIES_LIMIT)


def _listed_bytes(stage: Stage, census: Census) -> int:
    if not stage.writable_inputs:
        return census.size_bytes
    return census.size_bytes + take_census(stage.inputs, most_entries=OUTPUT_ENTRIES_LIMIT).size_bytes


class Writing:
    """Counts what a container writes to its output folder, and beside it where it may.

    On a file system of its own (`harness.run.space`) nothing escapes the count. Without one, files that
    were deleted while open are looked for among the container's descriptors, and a folder that is closed
    to us is an offence of its own, because what lies in it cannot be counted.
    """

    def __init__(
        self, stage: Stage, container: Container, meter: Meter, *, before_bytes: int, writable_root: bool
    ) -> None:
        self._stage = stage
        self._meter = meter
        self._device = stage.outputs.stat().st_dev
        self._root = _RootSize(container) if writable_root else None
        self._start_bytes = before_bytes
        self._next_scan = 0.0
        self._latest = Census(0, 0)
        self.total_bytes = 0

    def look(self) -> int:
        """Look again if it is time, and return the bytes seen last."""
        begin = time.monotonic()
        if begin >= self._next_scan:
            self._latest = self._census()
            written = self._listed_bytes(self._latest)
            if not self._stage.bounded:
                pids = self._meter.pids()
                written += deleted_bytes(pids, self._device, most=_MOST_DESCRIPTORS) - self._start_bytes
            end = time.monotonic()
            # A scan may use this share of one core, so a folder of many files is scanned less often.
            self._next_scan = end + min(2.0, (end - begin) / _SCAN_SHARE)
            self._written = written
        written = self._written
        if self._stage.bounded:
            written = max(written, used_bytes(self._stage.space) - self._start_bytes)
        self.total_bytes = written + (self._root.size_bytes if self._root is not None else 0)
        return self.total_bytes

    def limit_reached(self, output_bytes: int) -> tuple[Stop | None, float | None]:
        """Return which limit of writing is passed, and the value seen."""
        if self.total_bytes > output_bytes:
            return Stop.OUTPUT, self.total_bytes
        if self._latest.entries > OUTPUT_ENTRIES_LIMIT or self._latest.too_deep:
            return Stop.ENTRIES, self._latest.entries
        if self._latest.closed:
            return Stop.CLOSED, None
        return None, None

    _written = 0

    def _census(self) -> Census:
        return _census_of(self._stage)

    def _listed_bytes(self, census: Census) -> int:
        return _listed_bytes(self._stage, census)


class _RootSize:
    """Asks the engine how much a container wrote to its root file system.

    In a thread, because the engine walks over every file for the answer: a deadline must not wait for it.
    """

    def __init__(self, container: Container) -> None:
        self.size_bytes = 0
        self._container = container
        threading.Thread(target=self._ask, daemon=True, name="root-size").start()

    def _ask(self) -> None:
        while self._container.gone_at() is None:
            try:
                self.size_bytes = self._container.written_bytes()
            except InfrastructureError:
                return  # who waits for the container meets the same failure
            time.sleep(_SIZE_INTERVAL_S)
