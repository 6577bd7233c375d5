"""A real Slurm of one node starts workers, and its death costs nothing."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections import Counter

import noop_cluster
import pytest
import slurm
from noop_cluster import noop_request

from harness.cluster.client import Client
from harness.cluster.processes import WorkerCommand
from harness.cluster.queue import RunQueue, offered_runs
from harness.cluster.slurm_front import SlurmFront, batch_script
from harness.engine.process import ProcessEngine
from harness.errors import ConfigurationError
from harness.results.folder import read_run
from harness.results.observer import Observer
from harness.scoring.verify import verify_run

PROGRAM = (noop_cluster.__file__,)


@pytest.fixture
def cluster(tmp_path, monkeypatch):
    """The daemons of a Slurm that `sbatch` finds."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    with slurm.one_node(folder) as (variables, daemons):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        yield daemons


@pytest.mark.slow
def test_slurm_starts_workers_that_leave_when_nothing_is_left(cluster, tmp_path):
    request = noop_request(tmp_path, cases=12)
    front = SlurmFront(WorkerCommand(request.results, 5.0, program=PROGRAM), nodes=1)
    client = Client(request.results, engine=ProcessEngine(), front=front, observer=Observer(), lease_s=5.0)
    results = read_run(*client.evaluate([request]))
    assert Counter(line.case for line in results.executions) == Counter(
        request.dataset.cases[n].id for n in range(12)
    )
    assert verify_run(results.folder).problems == []
    deadline = time.monotonic() + 60
    while front.working():
        assert time.monotonic() < deadline
        time.sleep(0.2)


@pytest.mark.slow
def test_a_job_that_slurm_kills_is_not_put_back_and_loses_no_case(cluster, tmp_path):
    request = noop_request(tmp_path, cases=10)
    command = WorkerCommand(request.results, 2.0, program=(*PROGRAM, "--work-ms", "300"))

    front = SlurmFront(command, nodes=1)
    killed = []

    def kill_the_first_job() -> None:
        while not (runs := offered_runs(request.results)) or not RunQueue(runs[0]).ended():
            time.sleep(0.05)
        killed.append(front._jobs[0])
        subprocess.run(["scancel", "--signal=KILL", "--full", killed[0]], check=True)

    killer = threading.Thread(target=kill_the_first_job)
    killer.start()
    client = Client(request.results, engine=ProcessEngine(), front=front, observer=Observer(), lease_s=2.0)
    results = read_run(*client.evaluate([request]))
    killer.join()
    assert killed
    assert front._jobs[0] == killed[0]
    assert len(front._jobs) > 1  # Slurm did not start it again: the client asked for another
    assert Counter(line.case for line in results.executions) == Counter(
        case.id for case in request.dataset.cases
    )
    assert verify_run(results.folder).problems == []


@pytest.mark.slow
def test_a_controller_that_died_takes_no_worker_with_it(cluster, tmp_path):
    request = noop_request(tmp_path, cases=10)
    front = SlurmFront(WorkerCommand(request.results, 2.0, program=(*PROGRAM, "--work-ms", "300")), nodes=1)

    def kill_the_controller() -> None:
        while not (runs := offered_runs(request.results)) or not RunQueue(runs[0]).ended():
            time.sleep(0.05)
        cluster["slurmctld"].kill()

    killer = threading.Thread(target=kill_the_controller)
    killer.start()
    client = Client(request.results, engine=ProcessEngine(), front=front, observer=Observer(), lease_s=2.0)
    results = read_run(*client.evaluate([request]))
    killer.join()
    assert cluster["slurmctld"].poll() is not None
    assert Counter(line.case for line in results.executions) == Counter(
        case.id for case in request.dataset.cases
    )


def test_the_script_asks_for_a_whole_node_once_and_starts_the_same_worker(tmp_path):
    command = WorkerCommand(tmp_path / "a results folder", 120.0)
    script = batch_script(command, nodes=20, logs=tmp_path)
    asked = [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH")]
    assert {"--exclusive", "--no-requeue", "--array=0-19", "--nodes=1"} <= set(asked)
    last = subprocess.run(
        ["sh", "-c", script.replace("exec ", "printf '%s\\n' ")], capture_output=True, text=True, check=True
    )
    assert last.stdout.splitlines() == command.argv()


def test_the_job_s_end_is_the_worker_s(monkeypatch):
    from harness.cli.worker import ends_at

    monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    assert ends_at(None) is None
    monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + 3600))
    assert 3590 < ends_at(None) - time.monotonic() <= 3600
    assert 7190 < ends_at("2 h") - time.monotonic() <= 7200
    with pytest.raises(ConfigurationError, match="--stop-after"):
        ends_at("soon")
