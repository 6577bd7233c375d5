"""Which front end a person means by `--cluster`."""

from __future__ import annotations

from pathlib import Path

from harness.cluster.client import FrontEnd
from harness.cluster.dask_front import DaskFront, places_of
from harness.cluster.processes import WorkerCommand
from harness.cluster.slurm_front import SlurmFront, nodes_of
from harness.errors import ConfigurationError
from harness.results.observer import Observer

_LOWEST_PORT = 1024


def front_end(words: str, results: Path, *, lease_s: float, observer: Observer) -> FrontEnd:
    """Return the front end of `local:N`, `slurm:N` or a Dask scheduler's address.

    Raises:
        ConfigurationError: it is none of these.
    """
    command = WorkerCommand(results, lease_s)
    kind = words.partition(":")[0]
    if kind == "local":
        return DaskFront(command, address=None, places=places_of(words), observer=observer)
    if kind == "slurm":
        return SlurmFront(command, nodes=nodes_of(words))
    port = words.rpartition(":")[2]
    # `loca:2` is a slip of the finger and no host: nobody's scheduler listens on a port of the system.
    if "://" in words or (port.isdecimal() and int(port) >= _LOWEST_PORT):
        return DaskFront(command, address=words, observer=observer)
    raise ConfigurationError(
        f"{words!r} is no cluster",
        where="--cluster",
        mend="Use local:N, slurm:N, or the address of a Dask scheduler, tcp://host:8786.",
    )
