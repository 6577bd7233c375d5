"""What one worker takes, and what it leaves alone."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from noop_cluster import HOST, NoopCaseRunner, NoopHostRunner, offer_of, queue_for

from harness.cluster.identity import this_process
from harness.cluster.queue import RunQueue, Taken
from harness.cluster.records import Division, End, Lease
from harness.cluster.retry import MOST_IN_A_ROW
from harness.cluster.worker import AROUND_A_CASE_S, Worker
from harness.errors import InfrastructureError, PrerequisiteError
from harness.results.observer import Observer
from harness.results.records import Outcome


class Listening(Observer):
    def __init__(self):
        self.notes = []
        self.cases = []

    def note(self, text):
        self.notes.append(text)

    def case_started(self, case, attempt):
        self.cases.append(case)


def worker_of(results, host_runner=None, **options):
    return Worker(
        results=results,
        holder=this_process(),
        host_runner=host_runner or NoopHostRunner(),
        observer=Listening(),
        lease_s=5.0,
        **options,
    )


def takers(queue: RunQueue, cases: int) -> list[int]:
    return [len([each for each in queue.history(index) if isinstance(each, Lease)]) for index in range(cases)]


def test_the_first_case_of_each_team_comes_before_the_second_of_any(tmp_path):
    order = []

    class Telling(NoopHostRunner):
        def open(self, offer, observer):
            runner = NoopCaseRunner()
            run = runner.run
            runner.run = lambda case, *rest: order.append(offer.record.team) or run(case, *rest)
            return runner

    for team in ("ann", "ben", "cid"):
        queue_for(tmp_path, offer_of(3, team=team))
    assert worker_of(tmp_path, Telling()).work().ended == 9
    assert sorted(order[:3]) == ["ann", "ben", "cid"]
    # From then on a host stays with a team, because changing costs it the image's trial.
    assert sum(one != next_ for one, next_ in pairwise(order)) <= 4


def test_no_case_is_begun_that_may_not_end_before_the_host_is_taken_away(tmp_path):
    queue = queue_for(tmp_path, offer_of(3, time_s=100.0))
    soon = time.monotonic() + AROUND_A_CASE_S + 99
    assert worker_of(tmp_path, stop_at=soon).work().ended == 0
    assert takers(queue, 3) == [0, 0, 0]
    later = time.monotonic() + AROUND_A_CASE_S + 200
    assert worker_of(tmp_path, stop_at=later).work().ended == 3


def test_no_case_is_begun_once_the_team_s_time_is_used_up(tmp_path):
    offer = offer_of(6).model_copy(update={"used_s": 2.0})
    queue = queue_for(tmp_path, offer, time_s=10.0)
    host_runner = NoopHostRunner(NoopCaseRunner(run_s=3.0))
    assert worker_of(tmp_path, host_runner).work().ended == 3  # 2 s were used before, and 6 s are less than 8
    assert queue.quota.is_used_up()
    assert worker_of(tmp_path, host_runner).work().ended == 0
    assert sum(takers(queue, 6)) == 3
    queue.allow(13.0)  # another call has another quota
    assert worker_of(tmp_path, host_runner).work().ended == 1
    queue.allow(None)
    assert worker_of(tmp_path, host_runner).work().ended == 2


def test_time_of_a_case_that_was_another_s_when_it_ended_is_not_the_team_s(tmp_path):
    queue = queue_for(tmp_path, offer_of(2), time_s=6.0)
    another = End(holder=this_process(), outcome=Outcome.SUCCEEDED, execution_sha256="0" * 64)

    class Overtaken(NoopCaseRunner):
        def run(self, case, attempt, held):
            queue.end(Taken(0, 1, 1), another)
            return super().run(case, attempt, held)

    tally = worker_of(tmp_path, NoopHostRunner(Overtaken(run_s=3.0))).work()
    assert (tally.ended, tally.void) == (1, 1)
    assert not queue.quota.is_used_up()
    queue.quota.tell_used("another", 3.0)
    assert queue.quota.is_used_up()


def test_a_host_that_cannot_work_on_a_run_says_why_and_works_on_the_others(tmp_path):
    class NoGpu(NoopHostRunner):
        def open(self, offer, observer):
            if offer.record.team == "ann":
                raise PrerequisiteError("no GPU is here", mend="Use another host.")
            return super().open(offer, observer)

    refused = queue_for(tmp_path, offer_of(2, team="ann"))
    taken = queue_for(tmp_path, offer_of(2, team="ben"))
    worker = worker_of(tmp_path, NoGpu())
    assert worker.work().ended == 2
    assert takers(taken, 2) == [1, 1]
    assert takers(refused, 2) == [0, 0]
    (why,) = refused.refusals().values()
    assert "no GPU is here. Use another host." in why
    assert any("no GPU is here" in note for note in worker.observer.notes)


def test_an_unlike_host_takes_no_case_of_a_division(tmp_path):
    queue = queue_for(tmp_path, offer_of(2))
    queue.found_division(Division(host=HOST.model_copy(update={"cpu_model": "another"})))
    assert worker_of(tmp_path).work().ended == 0
    (why,) = queue.refusals().values()
    assert "processor: none here, another there" in why


def test_another_key_is_refused_because_its_lines_would_count_for_nothing(tmp_path, monkeypatch):
    queue = queue_for(tmp_path, offer_of(2))
    monkeypatch.setenv("FLAREHARNESS_KEY", str(tmp_path / "another key"))
    assert worker_of(tmp_path).work().ended == 0
    (why,) = queue.refusals().values()
    assert "Give all hosts one key" in why


def test_containers_of_a_dead_holder_are_reaped_before_its_case_is_run(tmp_path):
    queue = queue_for(tmp_path, offer_of(1))
    me = this_process()
    gone = me.model_copy(update={"worker": "gone-1-0", "started": me.started + 1})
    (queue.root / "slots" / "00000.0001").write_text(f'{{"content":{Lease(holder=gone).model_dump_json()}}}')
    host_runner = NoopHostRunner()
    assert worker_of(tmp_path, host_runner).work().ended == 1
    assert host_runner.reaped == [gone]


def test_a_host_that_fails_every_case_takes_three_and_leaves_the_rest_to_others(tmp_path):
    class Broken(NoopCaseRunner):
        def run(self, case, attempt, held):
            raise InfrastructureError("the engine went away", mend="Start it.")

    queue = queue_for(tmp_path, offer_of(10))
    worker = worker_of(tmp_path, NoopHostRunner(Broken()))
    assert worker.work().ended == MOST_IN_A_ROW
    assert sum(takers(queue, 10)) == MOST_IN_A_ROW
    (why,) = queue.refusals().values()
    assert "3 cases in a row failed here: the engine went away. Start it." in why
    assert worker_of(tmp_path).work().ended == 10


@pytest.mark.parametrize("cases", [1, 2, 7])
def test_a_worker_leaves_when_nothing_is_left(tmp_path, cases):
    queue = queue_for(tmp_path, offer_of(cases))
    host_runner = NoopHostRunner()
    assert worker_of(tmp_path, host_runner).work().ended == cases
    assert sorted(queue.ended()) == list(range(cases))
    assert host_runner.closed
    assert host_runner.forgotten == ["noop"]
    assert worker_of(tmp_path).work().ended == 0
