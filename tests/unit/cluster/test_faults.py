"""Workers, clients and disks that fail at any moment: no case is lost, none counts twice, all is signed."""

from __future__ import annotations

import errno
import multiprocessing
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from dataclasses import replace

import psutil
import pytest
from noop_cluster import Processes, client_for, noop_request

from harness.cluster.queue import RunQueue, offered_runs
from harness.cluster.records import End, Lease
from harness.errors import ConfigurationError, InfrastructureError
from harness.results.folder import read_run
from harness.results.journal import Journal
from harness.results.records import Outcome
from harness.scoring.verify import verify_run

KILLS = int(os.environ.get("FLAREHARNESS_KILLS", "15"))


def check_exactly_once(results, cases: int) -> None:
    """Each case has one line, in one chain that is whole and signed."""
    assert Counter(line.case for line in results.executions) == Counter(
        f"case_{number:05d}" for number in range(cases)
    )
    assert verify_run(results.folder).problems == []


def only_queue(results) -> RunQueue:
    (root,) = wait_for(lambda: offered_runs(results))
    return RunQueue(root)


def wait_for(seen):
    """Return what `seen` returns once that is something."""
    deadline = time.monotonic() + 120
    while not (found := seen()):
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)
    return found


def in_background(client, request):
    """Evaluate in a thread; return it and the list that will hold the results."""
    found = []
    thread = threading.Thread(target=lambda: found.extend(map(read_run, client.evaluate([request]))))
    thread.start()
    return thread, found


@pytest.mark.slow
def test_killed_workers_lose_no_case_and_end_none_twice(tmp_path):
    cases = 4 * KILLS  # enough to outlast the kills
    request = noop_request(tmp_path, cases=cases)
    chance = random.Random(KILLS)
    killed = 0

    class Killing(Processes):
        """Kills one of its workers at a random moment, and starts another."""

        def working(self) -> int:
            return super().working() or int(killed < KILLS)

    front = Killing(request.results, 3, lease_s=2.0, work_ms=20)
    thread, found = in_background(client_for(request.results, front, lease_s=2.0), request)
    while thread.is_alive() and killed < KILLS:
        time.sleep(chance.uniform(0.0, 0.06))
        alive = [process for process in front.processes if process.is_alive()]
        if alive:
            victim = chance.choice(alive)
            os.kill(victim.pid, signal.SIGKILL)
            victim.join()
            killed += 1
            front.start_one()
    thread.join()
    assert killed == KILLS
    check_exactly_once(found[0], cases)


def test_a_worker_that_was_stopped_past_its_lease_ends_nothing_when_it_wakes(tmp_path):
    request = noop_request(tmp_path, cases=1)
    front = Processes(request.results, 1, lease_s=1.0, work_ms=1000)
    thread, found = in_background(client_for(request.results, front), request)
    queue = only_queue(request.results)
    held = []
    wait_for(lambda: queue.history(0))
    (sleeper,) = front.processes
    os.kill(sleeper.pid, signal.SIGSTOP)
    front.start_one()

    def note() -> bool:
        held[:] = queue.history(0) or held
        return not thread.is_alive() or isinstance(held[-1], End)

    wait_for(note)
    os.kill(sleeper.pid, signal.SIGCONT)
    thread.join()
    assert [type(each) for each in held] == [Lease, Lease, End]
    assert held[0].holder.pid != held[1].holder.pid
    assert held[2].holder == held[1].holder
    check_exactly_once(found[0], 1)


def test_a_client_that_was_killed_is_taken_up_by_the_next_one(tmp_path):
    request = noop_request(tmp_path, cases=30)
    workers = Processes(request.results, 0)
    nobody = Processes(request.results, 0)

    def be_client() -> None:
        client_for(request.results, nobody).evaluate([request])

    first = multiprocessing.get_context("fork").Process(target=be_client)
    first.start()
    queue = only_queue(request.results)
    for _ in range(2):
        workers.start_one(work_ms=30)
    wait_for(lambda: len(queue.ended()) >= 8)
    first.kill()
    first.join()
    with workers:
        results = read_run(*client_for(request.results, nobody).evaluate([request]))
    check_exactly_once(results, 30)
    assert offered_runs(request.results) == []


def test_a_second_client_of_a_run_is_told_of_the_first_and_changes_nothing(tmp_path):
    request = noop_request(tmp_path, cases=6)
    front = Processes(request.results, 1, work_ms=100)
    thread, found = in_background(client_for(request.results, front), request)
    only_queue(request.results)

    def second() -> None:
        with pytest.raises(InfrastructureError, match="another harness works"):
            client_for(request.results, Processes(request.results, 0)).evaluate([request])

    process = multiprocessing.get_context("fork").Process(target=second)
    process.start()
    process.join()
    assert process.exitcode == 0
    thread.join()
    check_exactly_once(found[0], 6)


def test_a_team_whose_run_cannot_be_offered_stops_no_other(tmp_path):
    good, bad = (noop_request(tmp_path, cases=4, team=team) for team in ("ann", "ben"))
    client = client_for(good.results, Processes(good.results, 1))
    folders = client.evaluate([replace(bad, warm_up=True), good])
    check_exactly_once(read_run(*folders), 4)
    assert "--warm-up" in client.failures["ben"].one_line()
    with pytest.raises(ConfigurationError, match="--warm-up"):
        client.evaluate([replace(bad, warm_up=True)])


def test_two_clients_of_two_teams_share_workers(tmp_path):
    requests = [noop_request(tmp_path, cases=8, team=team) for team in ("ann", "ben")]
    results = requests[0].results
    workers = Processes(results, 2, work_ms=20)
    threads = [in_background(client_for(results, Processes(results, 0)), each) for each in requests]
    wait_for(lambda: len(offered_runs(results)) == 2)
    workers.start()
    for thread, _ in threads:
        thread.join()
    workers.__exit__()
    for _, found in threads:
        check_exactly_once(found[0], 8)


def test_clocks_that_are_five_minutes_off_end_no_lease(tmp_path):
    request = noop_request(tmp_path, cases=12)
    front = Processes(request.results, 0, work_ms=60)
    thread, found = in_background(client_for(request.results, front), request)
    queue = only_queue(request.results)
    real = time.time

    def shifted(seconds: float):
        def shift() -> None:
            time.time = lambda: real() + seconds

        return shift

    for seconds in (-300.0, 0.0, 300.0):
        front.start_one(shifted(seconds))
    leases = {}

    def note() -> bool:
        for index in range(12):
            leases[index] = queue.history(index) or leases.get(index, [])
        return not thread.is_alive()

    wait_for(note)
    check_exactly_once(found[0], 12)
    assert max(sum(isinstance(each, Lease) for each in history) for history in leases.values()) == 1


def test_a_worker_whose_disk_is_full_leaves_its_case_to_others(tmp_path):
    request = noop_request(tmp_path, cases=8)
    front = Processes(request.results, 0, work_ms=20)
    thread, found = in_background(client_for(request.results, front), request)
    only_queue(request.results)

    def full_disk() -> None:
        def refuse(self, record):
            raise InfrastructureError("a result cannot be stored", mend=os.strerror(errno.ENOSPC))

        Journal.append = refuse

    wronged = front.start_one(full_disk)
    wronged.join()
    assert wronged.exitcode == 1
    front.start_one()
    thread.join()
    check_exactly_once(found[0], 8)


@pytest.mark.skipif(os.geteuid() != 0, reason="NO ROOT: a small disk is mounted")
def test_a_disk_that_is_full_for_all_stops_them_and_the_same_call_goes_on_when_it_is_not(tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(small)], check=True)
    try:
        request = replace(noop_request(tmp_path, cases=12), results=small / "results")
        filler = small / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError):
            while True:
                file.write(bytes(4096))
        os.truncate(filler, filler.stat().st_size - 96 * 1024)
        with pytest.raises((InfrastructureError, OSError)):
            client_for(request.results, Processes(request.results, 2)).evaluate([request])
        filler.unlink()
        results = read_run(*client_for(request.results, Processes(request.results, 2)).evaluate([request]))
        check_exactly_once(results, 12)
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_share_that_shows_changes_late_loses_and_doubles_nothing(tmp_path):
    request = noop_request(tmp_path, cases=20)
    front = Processes(request.results, 3, lease_s=2.0, work_ms=10, visible_after=0.5)
    results = read_run(*client_for(request.results, front, lease_s=2.0).evaluate([request]))
    check_exactly_once(results, 20)


def test_a_case_that_fails_on_the_only_host_is_left_without_a_verdict_and_said_so(tmp_path):
    request = noop_request(tmp_path, cases=2)

    results = read_run(
        *client_for(request.results, Processes(request.results, 1, outcome="infrastructure")).evaluate(
            [request]
        )
    )
    assert Counter((line.case, line.attempt) for line in results.executions) == {
        (f"case_{number:05d}", attempt): 1 for number in range(2) for attempt in (1, 2)
    }
    assert verify_run(results.folder).problems == []
    again = read_run(*client_for(request.results, Processes(request.results, 1)).evaluate([request]))
    assert {case: (line.attempt, line.outcome) for case, line in again.final_executions().items()} == {
        f"case_{number:05d}": (3, Outcome.SUCCEEDED) for number in range(2)
    }


def test_nothing_of_the_queue_is_left_when_its_runs_are_whole(tmp_path):
    request = noop_request(tmp_path, cases=3)
    client_for(request.results, Processes(request.results, 2)).evaluate([request])
    assert [path for path in (request.results / ".queue").rglob("*") if not path.is_dir()] == []
    assert list((request.results / ".queue" / "locks").iterdir()) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_a_run_whose_time_is_used_up_is_concluded_and_the_rest_is_left(tmp_path, workers):
    request = noop_request(tmp_path, cases=30)
    front = Processes(request.results, workers, work_ms=1, run_s=3.0)
    client = client_for(request.results, front)
    results = read_run(*client.evaluate([request], time_s={request.team: 10.0}))
    # Four cases of 3 s; what each other worker had begun by then may end.
    assert 4 <= len(results.executions) <= 4 + workers - 1
    assert verify_run(results.folder).problems == []
    assert offered_runs(request.results) == []
    again = read_run(*client.evaluate([request], time_s={request.team: 10.0}))
    assert again.executions == results.executions


def test_nothing_of_a_test_is_left_running():
    """But what other tests' pools leave to the end of this process."""
    mine = psutil.Process().children(recursive=True)
    running = [child.cmdline() for child in mine if child.is_running() and child.status() != "zombie"]
    assert [words for words in running if "multiprocessing." not in " ".join(words)] == []
