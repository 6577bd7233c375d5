"""Workers whose cases do nothing: the queue, the leases and the merge are the real ones, the engine is none.

    python noop_cluster.py --results DIR --lease S [--work-ms MS] [--visible-after S]

A no-op case takes `--work-ms` and ends as the process engine's would, without a prediction. It never runs
through `harness evaluate`: its queue is made by these tests, for runs of a data set of theirs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

import nibabel
import numpy as np

from harness.challenge import load_challenge
from harness.cluster.client import Client
from harness.cluster.identity import Holder, this_process
from harness.cluster.queue import RunQueue
from harness.cluster.records import Division, Offer, OfferedCase, OfferedImage
from harness.cluster.shared import SharedFolder
from harness.cluster.worker import Tally, Worker
from harness.data.dataset import open_dataset
from harness.engine.process import ProcessEngine
from harness.results.key import signing_key
from harness.results.observer import Observer
from harness.results.records import (
    DatasetFacts,
    Evidence,
    ExecutionRecord,
    HostFacts,
    Outcome,
    RunRecord,
    Stages,
)
from harness.run.evaluate import EvaluationRequest
from harness.run.workers import terminate_like_interrupt

HOST = HostFacts(
    cpu_model="none", cores=1, memory_bytes=1, kernel="none", engine="process none", isolated=False
)


@dataclass
class NoopCaseRunner:
    """Ends each case after a while, with an outcome of the test's choice."""

    work_s: float = 0.0
    run_s: float | None = None
    outcome: Outcome = Outcome.SUCCEEDED
    division: Division = field(default_factory=lambda: Division(host=HOST, speed_s=1.0))

    def run(self, case, attempt, held):
        (held / "cases" / case.id).mkdir(parents=True)
        (held / "cases" / case.id / "container.log").write_bytes(b"")
        time.sleep(self.work_s)
        return ExecutionRecord(
            case=case.id,
            attempt=attempt,
            outcome=self.outcome,
            evidence=Evidence(summary="nothing was run"),
            started_at=datetime.now(UTC),
            stages=Stages(run_s=self.run_s),
        )

    def score(self, execution, case, held):
        return None


@dataclass
class NoopHostRunner:
    """Opens a no-op runner for every run."""

    runner: NoopCaseRunner = field(default_factory=NoopCaseRunner)
    reaped: list[Holder] = field(default_factory=list)
    closed: int = 0
    forgotten: list[str] = field(default_factory=list)

    def open(self, offer, observer):
        return self.runner

    def reap(self, holder):
        self.reaped.append(holder)

    def close(self):
        self.closed += 1

    def forget(self, offer):
        self.forgotten.append(offer.record.team)


class LateFolder(SharedFolder):
    """A share whose changes show late to this process: what it reads and lists is as old as `delay_s`.

    Links are decided by the server at once, as on NFS; what one wrote oneself is seen at once.
    """

    delay_s = 0.0

    def __init__(self, root):
        super().__init__(root)
        self._seen = {}
        self._own = set()

    def _late(self, key, look):
        known = self._seen.get(key)
        if known is None or time.monotonic() - known[0] > self.delay_s:
            self._seen[key] = known = (time.monotonic(), look())
        return known[1]

    def put_new(self, name, content, *, durable=False):
        won = super().put_new(name, content, durable=durable)
        if won:
            self._seen.pop(("read", name), None)
            self._own.add(name)
        return won

    def read(self, name):
        if name in self._own:
            return super().read(name)
        read = super().read
        return self._late(("read", name), lambda: read(name))

    def names(self, folder="."):
        names = super().names
        return self._late(("names", folder), lambda: names(folder))


def offer_of(cases: int, *, team: str = "noop", lease_s: float = 1.0, time_s: float = 60.0) -> Offer:
    """Return an offer of no-op cases."""
    challenge = load_challenge("phantom")
    limits = challenge.limits.model_copy(update={"time_s": time_s})
    names = [f"case_{number:05d}" for number in range(cases)]
    record = RunRecord(
        run="0123456789ab",
        team=team,
        challenge=challenge,
        limits=limits,
        dataset=DatasetFacts(name="noop", fingerprint="0" * 64, cases=tuple(names)),
        created_at=datetime.now(UTC),
        key=signing_key().id,
    )
    return Offer(
        record=record,
        cases=tuple(
            OfferedCase(id=name, channels=(Path("/none"),), label=None, annotated=None, size_bytes=0)
            for name in names
        ),
        image=OfferedImage(reference="none"),
        engine="process",
        data=Path("/none"),
        profile="exact",
        score=False,
        lease_s=lease_s,
    )


def queue_for(results: Path, offer: Offer, *, time_s: float | None = None) -> RunQueue:
    """Make the queue of an offer, with the time that its containers may take in all."""
    record = offer.record
    name = f"{record.challenge.name}+{record.team}+{record.run}+test"
    return RunQueue.make(results / ".queue" / name, offer, time_s=time_s)


def noop_request(folder: Path, *, cases: int, team: str = "noop") -> EvaluationRequest:
    """Return a request for no-op cases, over a data set of one image under many names."""
    data = folder / "data"
    if not data.exists():
        (data / "imagesVal").mkdir(parents=True)
        image = data / "one.nii.gz"
        nibabel.save(nibabel.Nifti1Image(np.zeros((2, 2, 2), np.int16), np.eye(4)), image)
        for number in range(cases):
            (data / "imagesVal" / f"case_{number:05d}_0000.nii.gz").hardlink_to(image)
        image.unlink()
    submission = folder / team
    submission.mkdir(exist_ok=True)
    (submission / "predict.sh").write_text(f"# {team}\n")
    return EvaluationRequest(
        team=team,
        image=str(submission),
        challenge=load_challenge("phantom"),
        dataset=open_dataset(data, need_labels=False),
        results=folder / "results",
        score=False,
        cache=folder / "cache",
    )


class Processes:
    """A front end that forks workers, so that a thousand of them take no time to start."""

    slots = 1
    spreads = False

    def __init__(self, results: Path, count: int, *, lease_s: float = 1.0, **options: float | str) -> None:
        named = [
            word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))
        ]
        self._argv = ["--results", str(results), "--lease", str(lease_s), *named]
        self._count = count
        self.processes: list[multiprocessing.Process] = []

    def start(self) -> None:
        while self.working() < self._count:
            self.start_one()

    def start_one(
        self, before: Callable[[], None] = lambda: None, **options: float
    ) -> multiprocessing.Process:
        """Start a worker; `before` is called in it first."""
        named = [
            word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))
        ]

        def work() -> None:
            before()
            with suppress(KeyboardInterrupt):
                main([*self._argv, *named])

        process = multiprocessing.get_context("fork").Process(target=work)
        process.start()
        self.processes.append(process)
        return process

    def working(self) -> int:
        return sum(process.is_alive() for process in self.processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGCONT)
                process.terminate()
            process.join()
            process.close()
        self.processes.clear()


def client_for(
    results: Path, front: Processes, *, lease_s: float = 1.0, observer: Observer | None = None
) -> Client:
    """Return a client over a front end of processes."""
    return Client(
        results, engine=ProcessEngine(), front=front, observer=observer or Observer(), lease_s=lease_s
    )


def main(argv: list[str]) -> Tally:
    """Be a no-op worker."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--results", type=Path)
    parser.add_argument("--lease", type=float)
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--work-ms", type=float, default=0.0)
    parser.add_argument("--run-s", type=float)
    parser.add_argument("--outcome", type=Outcome, default=Outcome.SUCCEEDED)
    parser.add_argument("--visible-after", type=float, default=0.0)
    asked = parser.parse_args(argv)
    LateFolder.delay_s = asked.visible_after
    with terminate_like_interrupt():
        return Worker(
            results=asked.results,
            holder=this_process(),
            host_runner=NoopHostRunner(NoopCaseRunner(asked.work_ms / 1000, asked.run_s, asked.outcome)),
            observer=Observer(),
            lease_s=asked.lease,
            share=LateFolder if asked.visible_after else SharedFolder,
        ).work()


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        os._exit(130)
