"""What the queue costs beside the cases: 10,000 that do nothing, four workers, one client.

    python -m pytest tests/benchmarks/test_cluster_cost.py -s
    FLAREHARNESS_BENCH_CASES=1000 python -m pytest ...          # a tenth of it

CPU seconds do not depend on what else a machine does; the wall clock does, and is told beside them.
"""

from __future__ import annotations

import os
import resource
import statistics
import threading
import time

import psutil
from noop_cluster import Processes, client_for, noop_request

from harness.scoring.verify import verify_run

CASES = int(os.environ.get("FLAREHARNESS_BENCH_CASES", "10000"))
WORKERS = 4
MOST_MS = 50.0
MIB = 1024**2


class Memory(threading.Thread):
    """Follows the resident memory of the client and of its workers."""

    def __init__(self, front: Processes) -> None:
        super().__init__(daemon=True)
        self._front = front
        self._client = psutil.Process()
        self.client: list[float] = []
        self.workers: list[float] = []
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.5):
            try:
                each = [psutil.Process(p.pid).memory_info().rss / MIB for p in self._front.processes]
            except (psutil.NoSuchProcess, ValueError):
                continue
            self.client.append(self._client.memory_info().rss / MIB)
            self.workers.append(max(each, default=0.0))


def growth(samples: list[float]) -> float:
    """Return by how much the last tenth of some samples lies above the second tenth, in MiB."""
    tenth = max(1, len(samples) // 10)
    return statistics.median(samples[-tenth:]) - statistics.median(samples[tenth : 2 * tenth] or samples)


def test_the_queue_costs_little_a_case_and_no_memory(tmp_path):
    request = noop_request(tmp_path, cases=CASES)
    front = Processes(request.results, WORKERS, lease_s=30.0)
    memory = Memory(front)
    memory.start()
    before = cpu_s(resource.RUSAGE_SELF), cpu_s(resource.RUSAGE_CHILDREN)
    begin = time.monotonic()
    (results,) = client_for(request.results, front, lease_s=30.0).evaluate([request])
    wall_s = time.monotonic() - begin
    memory.over.set()
    client, workers = cpu_s(resource.RUSAGE_SELF) - before[0], cpu_s(resource.RUSAGE_CHILDREN) - before[1]
    assert len(results.executions) == CASES
    assert verify_run(results.folder).problems == []
    print(
        f"\n{CASES} cases, {WORKERS} workers: {1000 * wall_s / CASES:.1f} ms of wall clock a case; "
        f"CPU {1000 * client / CASES:.1f} ms (client), {1000 * workers / CASES:.1f} ms (workers); "
        f"memory grew by {growth(memory.client):.1f} MiB (client, of {max(memory.client):.0f}), "
        f"{growth(memory.workers):.1f} MiB (a worker, of {max(memory.workers):.0f})"
    )
    assert 1000 * (client + workers) / CASES < MOST_MS
    assert growth(memory.client) < CASES * 2048 / MIB + 8
    assert growth(memory.workers) < CASES * 2048 / MIB + 8


def cpu_s(who: int) -> float:
    """Return the CPU seconds used so far."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime
