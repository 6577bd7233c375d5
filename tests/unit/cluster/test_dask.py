"""Dask starts workers and may die: the queue holds all that counts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import noop_cluster
import pytest
from noop_cluster import noop_request

from harness.cluster.client import Client
from harness.cluster.dask_front import SETTINGS, WORKER_OPTIONS, DaskFront
from harness.cluster.front import count_of, front_end
from harness.cluster.processes import WorkerCommand
from harness.cluster.queue import RunQueue, offered_runs
from harness.engine.process import ProcessEngine
from harness.errors import ConfigurationError, InfrastructureError
from harness.results.folder import read_run
from harness.results.observer import Observer
from harness.scoring.verify import verify_run

pytest.importorskip("distributed", reason="DASK IS NOT INSTALLED: pip install 'flareharness[cluster]'")

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::RuntimeWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning:distributed"),
]


def command_for(request, lease_s: float, *options: str) -> WorkerCommand:
    return WorkerCommand(request.results, lease_s, program=(noop_cluster.__file__, *options))


def evaluate(request, front, lease_s):
    client = Client(
        request.results, engine=ProcessEngine(), front=front, observer=Observer(), lease_s=lease_s
    )
    results = read_run(*client.evaluate([request]))
    return results


def check(results, cases: int) -> None:
    assert Counter(line.case for line in results.executions) == Counter(f"case_{n:05d}" for n in range(cases))
    assert verify_run(results.folder).problems == []


@pytest.fixture
def elsewhere(monkeypatch):
    """A scheduler and two machines that joined it, as somebody else started them."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    started: list[subprocess.Popen[bytes]] = []

    def start(module: str, *arguments: str) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{module}", *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        started.append(process)
        return process

    from slurm import free_port

    address = f"tcp://127.0.0.1:{free_port()}"
    scheduler = start("dask_scheduler", "--host", address, "--no-dashboard")
    machines = [start("dask_worker", address, *WORKER_OPTIONS) for _ in range(2)]
    yield address, scheduler, machines
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.slow
def test_places_of_this_host_share_a_run(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    request = noop_request(tmp_path, cases=10)
    front = DaskFront(command_for(request, 10.0), address=None, places=2, observer=Observer())
    assert (front.slots, front.spreads) == (2, False)
    check(evaluate(request, front, 10.0), 10)


@pytest.mark.slow
def test_the_scheduler_and_a_machine_are_killed_and_nothing_is_lost(tmp_path, elsewhere):
    address, scheduler, machines = elsewhere
    request = noop_request(tmp_path, cases=20)
    front = DaskFront(command_for(request, 3.0, "--work-ms", "300"), address=address, observer=Observer())
    killed = []

    def kill() -> None:
        while not (runs := offered_runs(request.results)) or not RunQueue(runs[0]).ended():
            time.sleep(0.05)
        for process in (scheduler, machines[0]):
            os.kill(process.pid, signal.SIGKILL)
            killed.append(process.pid)

    killer = threading.Thread(target=kill)
    killer.start()
    results = evaluate(request, front, 3.0)
    killer.join()
    assert len(killed) == 2
    check(results, 20)


@pytest.mark.slow
def test_a_scheduler_that_is_gone_for_good_leaves_a_front_end_without_workers(
    tmp_path, elsewhere, monkeypatch
):
    monkeypatch.setattr("harness.cluster.dask_front._PATIENCE_S", 20)
    address, scheduler, machines = elsewhere
    request = noop_request(tmp_path, cases=1)
    with DaskFront(command_for(request, 3.0), address=address, observer=Observer()) as front:
        for process in (scheduler, *machines):
            process.kill()
            process.wait()
        deadline = time.monotonic() + 120
        while front._client.status != "closed":
            front.working()  # as a client asks again and again; meanwhile nobody can know
            assert time.monotonic() < deadline
            time.sleep(0.2)
        front.start()
        assert front.working() == 0


def test_an_address_where_nobody_listens_is_told_with_the_command_that_helps(tmp_path, monkeypatch):
    monkeypatch.setattr("harness.cluster.dask_front._PATIENCE_S", 1)
    request = noop_request(tmp_path, cases=1)
    front = DaskFront(command_for(request, 10.0), address="tcp://127.0.0.1:9", observer=Observer())
    with pytest.raises(InfrastructureError, match="dask worker --no-nanny --nthreads 1"):
        evaluate(request, front, 10.0)


def test_the_settings_are_known_to_this_dask():
    from distributed.config import config

    for name in SETTINGS:
        place = config
        for part in name.split("."):
            assert part in place, name
            place = place[part]


@pytest.mark.parametrize("words", ["loca:2", "nowhere", "local:none", "slurm:0"])
def test_what_is_no_cluster_is_told(tmp_path, words):
    with pytest.raises(ConfigurationError, match="--cluster"):
        front_end(words, tmp_path, lease_s=60, observer=Observer())


def test_clusters_are_told_apart_by_their_words(tmp_path):
    def kind(words: str) -> str:
        return type(front_end(words, tmp_path, lease_s=60, observer=Observer())).__name__

    assert [kind(words) for words in ("local:2", "slurm:3", "tcp://head:8786", "head:8786")] == [
        "DaskFront",
        "SlurmFront",
        "DaskFront",
        "DaskFront",
    ]
    assert [count_of(words, "local") for words in ("local", "local:20")] == [1, 20]
    for words in ("slurm:many", "slurm:0"):
        with pytest.raises(ConfigurationError, match="no number of workers"):
            front_end(words, tmp_path, lease_s=60, observer=Observer())
