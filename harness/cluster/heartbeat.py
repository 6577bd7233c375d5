"""Who is alive: each worker renews its beat, and whoever looks times it by a clock of its own.

No moment is ever compared with another host's clock: a beat is a number that grows, and a worker is taken for
dead when the number stood still for a whole lease by the clock of the one who looks. A clock that is five
minutes off changes nothing. A share that shows changes late lengthens the gap that is seen; a lease must be
longer than the pause between beats and the share's delay together (NFS: 60 s at most by default).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from harness.cluster.identity import Holder, is_known_dead
from harness.cluster.shared import SharedFolder

LEASE_S = 120.0
"""How long a beat may stand still before its worker's case is given to another."""
BEATS_PER_LEASE = 6
_FOLDER = "workers"
_LEFT = b"left              \n"


class Heartbeat:
    """Renews this worker's beat in a thread of its own. A context manager: at its end the worker has left.

    Args:
        shared: The queue's folder.
        holder: This worker.
        lease_s: The lease that its beats renew.
    """

    def __init__(self, shared: SharedFolder, holder: Holder, lease_s: float) -> None:
        self._shared = shared
        self._name = f"{_FOLDER}/{holder.worker}"
        self._pause_s = lease_s / BEATS_PER_LEASE
        self._number = 0
        self._until: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="heartbeat", daemon=True)

    def expect(self, seconds: float | None) -> None:
        """Stop renewing when so much time has passed: a case that hangs is not held for ever.

        Args:
            seconds: The longest that what begins now may take; None without bound.
        """
        self._until = None if seconds is None else time.monotonic() + seconds

    def _renew(self) -> None:
        while not self._stopping.wait(self._pause_s):
            until = self._until
            if until is None or time.monotonic() < until:
                with suppress(OSError):  # whoever looks sees the beat stand still
                    self._beat()

    def _beat(self) -> None:
        self._number += 1
        self._shared.overwrite(self._name, b"%018d\n" % self._number)

    def __enter__(self) -> Self:
        (self._shared.root / _FOLDER).mkdir(exist_ok=True)
        self._beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        with suppress(OSError):
            self._shared.overwrite(self._name, _LEFT)


def forget_heartbeats(shared: SharedFolder) -> None:
    """Remove the beats of all workers when nothing is offered. Whoever still waits for runs beats anew."""
    for name in shared.names(_FOLDER):
        with suppress(OSError):
            (shared.root / _FOLDER / name).unlink()


@dataclass
class _Seen:
    beat: bytes | None
    since: float


class Liveness:
    """What one process has seen of the others' beats.

    Args:
        shared: The queue's folder.
        lease_s: How long a beat may stand still.
        clock: Seconds of this process's own.
    """

    def __init__(
        self, shared: SharedFolder, lease_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._shared = shared
        self._lease_s = lease_s
        self._clock = clock
        self._seen: dict[str, _Seen] = {}

    def is_dead(self, holder: Holder) -> bool:
        """Whether a worker can renew its lease no more; looked at for the first time, it may live."""
        return is_known_dead(holder) or self._stands_still(holder.worker)

    def _stands_still(self, worker: str) -> bool:
        beat = self._shared.read(f"{_FOLDER}/{worker}")
        if beat == _LEFT:
            return True
        now = self._clock()
        seen = self._seen.get(worker)
        if seen is None or seen.beat != beat:
            self._seen[worker] = _Seen(beat, now)
            return False
        return now - seen.since > self._lease_s

    def living(self) -> list[str]:
        """Return the workers whose beat does not stand still, as far as that was seen."""
        return [name for name in self._shared.names(_FOLDER) if not self._stands_still(name)]
