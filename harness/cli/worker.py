"""`harness worker`: take cases from a results folder's queue, run them on this host, and write them down."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from harness.cli import options
from harness.cli.display import say
from harness.cli.observer import ConsoleObserver
from harness.cluster.heartbeat import LEASE_S
from harness.cluster.host_runner import EngineHostRunner
from harness.cluster.identity import this_process
from harness.cluster.worker import Worker
from harness.errors import EXIT_OK, ConfigurationError
from harness.run.alone import alone_on_this_host
from harness.run.workers import terminate_like_interrupt
from harness.text import seconds_of


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("worker")(command)


def command(
    results: options.Results = options.DEFAULT_RESULTS,
    lease: Annotated[
        float, typer.Option("--lease", min=1.0, help="Seconds after which a silent worker is taken for dead.")
    ] = LEASE_S,
    stay: Annotated[bool, typer.Option("--stay", help="Wait for runs that will be offered.")] = False,
    stop_after: Annotated[
        str | None,
        typer.Option("--stop-after", help="Begin no case that may not end within this time, such as 12 h."),
    ] = None,
    scratch: Annotated[
        Path | None, typer.Option("--scratch", help="A folder of this host for what containers write.")
    ] = None,
    slot: Annotated[int, typer.Option("--slot", min=0, help="This worker's place on its host.")] = 0,
    slots: Annotated[
        int, typer.Option("--slots", min=1, help="Places on this host; who starts them holds its lock.")
    ] = 1,
) -> int:
    """Take the cases that evaluations offer, and run them here.

    Example: `harness worker --results /shared/results`.

    Start one on each host that sees the folder; `harness evaluate --cluster` does it through Dask or Slurm.
    Whatever ends a worker, the cases that it held are taken by others.
    """
    if slot >= slots:
        raise ConfigurationError(f"there is no slot {slot} of {slots}", where="--slot", mend="Count from 0.")
    if not results.is_dir():
        raise ConfigurationError(
            "there is no such results folder",
            where=results,
            mend="Name the one that runs are offered in, as this host sees it.",
        )
    holder = this_process()
    with ConsoleObserver() as observer, ExitStack() as stack:
        stack.enter_context(terminate_like_interrupt())
        if slots == 1:
            stack.enter_context(alone_on_this_host(observer))
        worker = Worker(
            results=results,
            holder=holder,
            host_runner=EngineHostRunner(results, holder, slot=slot, scratch=scratch),
            observer=observer,
            lease_s=lease,
            stop_at=ends_at(stop_after),
            stays=stay,
        )
        tally = worker.work()
    void = f", {tally.void} void" if tally.void else ""
    say(f"{holder.worker}: {tally.ended} case(s) ended{void}; nothing is left for this worker")
    return EXIT_OK


def ends_at(stop_after: str | None) -> float | None:
    """Return the `time.monotonic()` at which this host is taken away: by option, or as Slurm says.

    Raises:
        ConfigurationError: the option is no time.
    """
    if stop_after is not None:
        try:
            return time.monotonic() + seconds_of(stop_after)
        except ValueError as error:
            raise ConfigurationError(str(error), where="--stop-after") from error
    told = os.environ.get("SLURM_JOB_END_TIME", "")
    # Both moments are of this host's clock, so it need not be right.
    return time.monotonic() + int(told) - time.time() if told.isdecimal() else None
