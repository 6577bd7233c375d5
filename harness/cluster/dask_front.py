"""Workers started by Dask: one task a machine, which runs `harness worker` until nothing is left for it.

Dask carries no cases and no results, so whatever it does with a task that failed, or whose machine went
away, nothing is run twice and nothing is lost: a worker more or less takes cases of the same queue. Its
settings are those of long tasks all the same: one thread and no nanny a machine, no memory limit but the
container's, no stealing, nothing in advance (worker-saturation 1.0), no retries, impure tasks under names of
their own, and futures let go when they are done, because Dask runs finished tasks again when a machine dies
that held a result which somebody still wants (distributed#5234, #7870).
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from typing import Any, Self

from harness.cluster.processes import WorkerCommand, run_to_its_end
from harness.errors import InfrastructureError, PrerequisiteError
from harness.results.observer import Observer
from harness.run.alone import alone_on_this_host

SETTINGS = {
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.worker-ttl": "1 hour",
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
}
"""What holds for `local:N`, and what a scheduler of one's own should be started with."""
WORKER_OPTIONS = ("--no-nanny", "--nthreads", "1", "--memory-limit", "0", "--no-dashboard")
"""How a machine joins."""
_PATIENCE_S = 60


class DaskFront:
    """Workers on the machines of a Dask cluster, or on places of this host.

    Args:
        command: Starts a worker.
        address: Of a scheduler, `tcp://host:8786`; None starts one here.
        places: How many workers this host runs without an address.
        observer: Told of what goes on.
    """

    def __init__(
        self, command: WorkerCommand, *, address: str | None, places: int = 1, observer: Observer
    ) -> None:
        self._command = command
        self._address = address
        self._observer = observer
        self._stack = ExitStack()
        self._client: Any = None
        self._futures: dict[str, Any] = {}
        self._fed: set[str] = set()
        self.slots = 1 if address is not None else places

    @property
    def spreads(self) -> bool:
        """See `FrontEnd`."""
        return self._address is not None

    def __enter__(self) -> Self:
        distributed = _distributed()
        import dask

        own = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="flareharness-dask-"))
        self._stack.enter_context(dask.config.set(SETTINGS | {"temporary-directory": own}))
        address = self._address
        if address is None:
            if self.slots > 1:  # a single worker holds the host's lock itself
                self._stack.enter_context(alone_on_this_host(self._observer))
            cluster = self._stack.enter_context(
                distributed.LocalCluster(
                    n_workers=0,
                    processes=False,
                    protocol="tcp",
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                )
            )
            address = cluster.scheduler_address
            self._stack.enter_context(_Machines(address, self.slots, own))
        try:
            self._client = self._stack.enter_context(
                distributed.Client(address, timeout=_PATIENCE_S, set_as_default=False)
            )
            self._client.wait_for_workers(self.slots, timeout=_PATIENCE_S)
        except (OSError, TimeoutError) as error:
            self._stack.close()
            raise InfrastructureError(
                "the Dask scheduler does not answer, or no machine joined it",
                where=address,
                mend=f"Start it, and machines with `dask worker {' '.join(WORKER_OPTIONS)} {address}`.",
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        for future in self._futures.values():
            with suppress(Exception):  # the scheduler may be gone, which changes nothing
                future.release()
        self._futures.clear()
        self._stack.close()

    def start(self) -> None:
        """See `FrontEnd`."""
        self._fed.clear()
        self._feed()

    def working(self) -> int:
        """See `FrontEnd`. Machines that joined meanwhile get a worker, too."""
        self._feed()
        for key, future in list(self._futures.items()):
            if future.done():
                future.release()
                del self._futures[key]
        return len(self._futures)

    def _feed(self) -> None:
        """Start one worker on each machine that has none of this call."""
        for number, machine in enumerate(self._machines()):
            if machine in self._fed:
                continue
            key = f"flareharness-worker-{secrets.token_hex(8)}"
            slot = (len(self._fed) if self._address is None else number) % self.slots
            self._futures[key] = self._client.submit(
                serve,
                self._command,
                slot,
                self.slots,
                key=key,
                workers=[machine],
                pure=False,
                retries=0,
            )
            self._fed.add(machine)

    def _machines(self) -> list[str]:
        """Return the addresses that joined; none where the scheduler is gone, and its workers go on."""
        try:
            return list(self._client.scheduler_info(n_workers=-1).get("workers", ()))
        except (OSError, RuntimeError, ValueError):  # of a client that has given up
            return []


def serve(command: WorkerCommand, slot: int, slots: int) -> int:
    """Run one worker on the machine that was given this task."""
    return run_to_its_end(command.argv(python=sys.executable, slot=slot, slots=slots))


class _Machines:
    """Dask's own workers on this host: bare processes, because a nanny would start again what we ended."""

    def __init__(self, address: str, count: int, scratch: str) -> None:
        options = [*WORKER_OPTIONS, "--local-directory", scratch]
        self._arguments = ["-m", "distributed.cli.dask_worker", address, *options]
        self._count = count
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        environment = os.environ | {
            f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": str(value)
            for name, value in SETTINGS.items()
        }
        for number in range(self._count):
            argv = [sys.executable, *self._arguments, "--name", f"place-{number}"]
            self._processes.append(
                subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            process.kill()
            process.wait()


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise PrerequisiteError(
            "Dask is not installed",
            where="--cluster",
            mend="Install it with `pip install 'flareharness[cluster]'`, or use --cluster slurm:N.",
        ) from error
    return distributed
