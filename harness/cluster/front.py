"""What starts workers, and which of them a person means by `--cluster`."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, Self

from harness.cluster.dask_front import DaskFront
from harness.cluster.processes import WorkerCommand
from harness.cluster.slurm_front import SlurmFront
from harness.errors import ConfigurationError
from harness.results.observer import Observer

_LOWEST_PORT = 1024


class FrontEnd(Protocol):
    """Starts workers on the queue of a results folder. It may die: nothing depends on it."""

    @property
    def spreads(self) -> bool:
        """Whether workers may stand on hosts whose engine has not got this host's images."""

    @property
    def slots(self) -> int:
        """Workers that one host runs beside each other."""

    def start(self) -> None:
        """Start the workers, or those that are gone."""

    def working(self) -> int:
        """How many of its workers run, or wait to run."""

    def __enter__(self) -> Self:
        """Get ready."""

    def __exit__(self, *_: object) -> None:
        """End the workers that it started."""


def front_end(words: str, results: Path, *, lease_s: float, observer: Observer) -> FrontEnd:
    """Return the front end of `local:N`, `slurm:N` or a Dask scheduler's address.

    Raises:
        ConfigurationError: it is none of these.
    """
    command = WorkerCommand(results, lease_s)
    kind = words.partition(":")[0]
    if kind == "local":
        return DaskFront(command, address=None, places=count_of(words, "local"), observer=observer)
    if kind == "slurm":
        return SlurmFront(command, nodes=count_of(words, "slurm"))
    port = words.rpartition(":")[2]
    # `loca:2` is a slip of the finger and no host: nobody's scheduler listens on a port of the system.
    if "://" in words or (port.isdecimal() and int(port) >= _LOWEST_PORT):
        return DaskFront(command, address=words, observer=observer)
    raise ConfigurationError(
        f"{words!r} is no cluster",
        where="--cluster",
        mend="Use local:N, slurm:N, or the address of a Dask scheduler, tcp://host:8786.",
    )


def count_of(words: str, kind: str) -> int:
    """Return N of `local:N` or `slurm:N`, 1 where it is left out.

    Raises:
        ConfigurationError: it is no number.
    """
    number = words.removeprefix(kind).removeprefix(":") or "1"
    if not number.isdecimal() or int(number) < 1:
        raise ConfigurationError(
            f"{number!r} is no number of workers", where="--cluster", mend=f"E.g. --cluster {kind}:2."
        )
    return int(number)
