"""What the queue costs beside the cases: 10,000 that do nothing, four workers, one client.

    python -m pytest tests/benchmarks/test_cluster_cost.py -s
    FLAREHARNESS_BENCH_CASES=1000 python -m pytest ...          # a tenth of it

CPU seconds do not depend on what else a machine does; the wall clock does, and is told beside them.
"""

from __future__ import annotations

import os
import resource
import time

import psutil
from noop_cluster import Processes, client_for, noop_request

from harness.results.folder import read_run
from harness.results.observer import Observer
from harness.results.records import ExecutionRecord
from harness.scoring.verify import verify_run

CASES = int(os.environ.get("FLAREHARNESS_BENCH_CASES", "10000"))
WORKERS = 4
MOST_MS = 50.0
MIB = 1024**2


class Memory(Observer):
    """Notes the resident memory of the client and of its largest worker, in MiB, as cases come in."""

    def __init__(self, front: Processes) -> None:
        self._front = front
        self._client = psutil.Process()
        self._seen = 0
        self.client: list[float] = []
        self.workers: list[float] = []

    def case_finished(self, execution: ExecutionRecord) -> None:
        self._seen += 1
        if self._seen % (CASES // 10):
            return
        alive = [psutil.Process(each.pid) for each in self._front.processes if each.is_alive()]
        self.client.append(self._client.memory_info().rss / MIB)
        self.workers += [max(each.memory_info().rss for each in alive) / MIB] if alive else []


def test_the_queue_costs_little_a_case_and_no_memory(tmp_path):
    request = noop_request(tmp_path, cases=CASES)
    front = Processes(request.results, WORKERS, lease_s=30.0)
    memory = Memory(front)
    before = cpu_s(resource.RUSAGE_SELF), cpu_s(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    (folder,) = client_for(request.results, front, lease_s=30.0, observer=memory).evaluate([request])
    wall_s = time.monotonic() - begin
    client, workers = cpu_s(resource.RUSAGE_SELF) - before[0], cpu_s(resource.RUSAGE_CHILDREN) - before[1]
    assert len(read_run(folder).executions) == CASES
    assert verify_run(folder).problems == []
    print(
        f"\n{CASES} cases, {WORKERS} workers: {1000 * wall_s / CASES:.1f} ms of wall clock a case; "
        f"CPU {1000 * client / CASES:.1f} ms (client), {1000 * workers / CASES:.1f} ms (workers); "
        f"memory from a tenth on: {memory.client[0]:.0f} to {memory.client[-1]:.0f} MiB (client), "
        f"{memory.workers[0]:.0f} to {memory.workers[-1]:.0f} MiB (a worker)"
    )
    assert 1000 * (client + workers) / CASES < MOST_MS
    # What is remembered of a case is its number and whether it is merged: a few hundred bytes.
    for samples in (memory.client, memory.workers):
        assert samples[-1] - samples[0] < CASES * 1024 / MIB + 4


def cpu_s(who: int) -> float:
    """Return the CPU seconds used so far."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
