"""The time that the containers of one run may take, kept where every worker looks before it takes a case.

    quota               seconds that are allowed since the offer, by whoever wants the run; missing: no bound
    used/WORKER         seconds that the containers of one worker took since

Who merges sees some seconds later what came to its end. Meanwhile cases would begin that have no time left.
"""

from __future__ import annotations

from pathlib import Path

from harness.cluster.shared import SharedFolder
from harness.errors import InfrastructureError
from harness.results.journal import CASES_FILE, read_lines
from harness.results.records import ExecutionRecord

USED_FOLDER = "used"
_FILE = "quota"


class TimeQuota:
    """The time of one run.

    Args:
        shared: The run's queue.
    """

    def __init__(self, shared: SharedFolder) -> None:
        self._shared = shared

    def allow(self, seconds: float) -> None:
        """Say how long containers may run since the offer; whoever calls later has the last word.

        Raises:
            InfrastructureError: the disk or the network fails, or the run was concluded.
        """
        self._write(_FILE, seconds)

    def tell_used(self, worker: str, seconds: float) -> None:
        """Say how long the containers of a worker ran since the offer, where there is a bound.

        Raises:
            InfrastructureError: the disk or the network fails, or the run was concluded.
        """
        if self._allowed() is not None:
            self._write(f"{USED_FOLDER}/{worker}", seconds)

    def is_used_up(self) -> bool:
        """Whether no case may begin any more."""
        allowed = self._allowed()
        return allowed is not None and self._used() >= allowed

    def _allowed(self) -> float | None:
        content = self._shared.read(_FILE)
        return None if content is None else float(content or "inf")

    def _used(self) -> float:
        names = self._shared.names(USED_FOLDER)
        return sum(float(self._shared.read(f"{USED_FOLDER}/{name}") or 0) for name in names)

    def _write(self, name: str, seconds: float) -> None:
        try:
            # In a constant number of letters, as what is written over must have.
            self._shared.overwrite(name, b"%18.3f\n" % seconds)
        except OSError as error:
            raise InfrastructureError(
                "the time of a run cannot be written down",
                where=self._shared.root / name,
                mend=f"{error.strerror}.",
            ) from error


def used_s(folder: Path) -> float:
    """Return the seconds that the containers of a run took so far."""
    return sum(line.stages.run_s or 0.0 for line in read_lines(folder / CASES_FILE, ExecutionRecord))
