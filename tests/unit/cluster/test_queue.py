"""A case has one end, whoever dies, sleeps, wakes, or has a wrong clock."""

import errno
import os
import threading

import pytest
from noop_cluster import LateFolder, offer_of, queue_for

from harness.cluster.heartbeat import Heartbeat, Liveness
from harness.cluster.identity import HERE, Holder, host_of, is_known_dead, this_process
from harness.cluster.queue import RunQueue, queue_of
from harness.cluster.records import End
from harness.cluster.retry import is_quarantined, may_try
from harness.cluster.shared import SharedFolder
from harness.errors import InfrastructureError
from harness.results.records import Outcome


def holder(name: str, *, boot: str = "elsewhere") -> Holder:
    return Holder(worker=f"{name}-1-0000", host=name, boot=boot, pid=1, started=1)


class Clock:
    """Seconds that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def alone() -> bool:
    return False


def end(who: Holder, outcome: Outcome = Outcome.SUCCEEDED) -> End:
    return End(holder=who, outcome=outcome, execution_sha256="0" * 64)


@pytest.fixture
def queue(tmp_path):
    return queue_for(tmp_path, offer_of(3))


@pytest.fixture
def beats(tmp_path):
    """The folder of the beats, a function that lets a worker beat, and a clock."""
    shared = SharedFolder(tmp_path / ".queue")
    (shared.root / "workers").mkdir()

    def beat(who: Holder, number: int) -> None:
        shared.overwrite(f"workers/{who.worker}", b"%018d\n" % number)

    return shared, beat, Clock()


def test_of_many_who_put_a_file_one_wins_and_nobody_reads_a_part_of_it(tmp_path):
    shared = SharedFolder(tmp_path)
    won = []

    def put(number: int) -> None:
        if shared.put_new("slot", b"%d" % number * 5000):
            won.append(number)

    threads = [threading.Thread(target=put, args=(number,)) for number in range(10, 26)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert shared.read("slot") == b"%d" % won[0] * 5000
    assert not list((tmp_path / ".new").iterdir())


@pytest.mark.parametrize("number", [errno.EEXIST, errno.EIO, errno.ETIMEDOUT])
def test_a_link_whose_answer_was_lost_is_ours_all_the_same(tmp_path, monkeypatch, number):
    shared, link = SharedFolder(tmp_path), os.link

    def lossy(source, target):
        link(source, target)
        raise OSError(number, "the answer was lost")

    monkeypatch.setattr(os, "link", lossy)
    assert shared.put_new("slot", b"mine")
    monkeypatch.setattr(os, "link", link)
    assert not shared.put_new("slot", b"another's")
    assert shared.read("slot") == b"mine"


def test_a_disk_without_hard_links_is_called_that(tmp_path, monkeypatch):
    def none(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", none)
    with pytest.raises(InfrastructureError, match="no hard links"):
        SharedFolder(tmp_path).put_new("slot", b"x")


def test_each_case_is_given_once_and_the_first_one_first(queue, beats):
    shared, _, clock = beats
    liveness = Liveness(shared, 60, clock)
    ann, ben = holder("ann"), holder("ben")
    other = RunQueue(queue.root)
    taken = [
        queue.take(ann, liveness, others=alone, start=2),
        other.take(ben, liveness, others=alone, start=1),
    ]
    taken.append(queue.take(ann, liveness, others=alone, start=2))
    assert next(each.index for each in taken) == 0
    assert sorted(each.index for each in taken) == [0, 1, 2]
    assert other.take(ben, liveness, others=alone) is None


def test_workers_that_meet_part_so_that_the_folder_is_listed_a_few_times_and_not_once_a_case(tmp_path, beats):
    class Counting(SharedFolder):
        listed = 0

        def names(self, folder="."):
            Counting.listed += folder == "slots"
            return super().names(folder)

    cases, workers = 400, 4
    root = queue_for(tmp_path, offer_of(cases)).root
    shared, _, clock = beats
    liveness = Liveness(shared, 60, clock)
    queues = [RunQueue(root, Counting(root)) for _ in range(workers)]
    taken = []
    while len(taken) < cases:  # all at one pace: those who walk together stay together
        for number, each in enumerate(queues):
            taken.append(each.take(holder(f"w{number}"), liveness, others=alone, start=0))
    assert sorted(each.index for each in taken) == list(range(cases))
    assert Counting.listed <= workers * 2 * cases.bit_length()


def test_a_worker_that_sleeps_past_its_lease_and_wakes_ends_nothing(queue, beats):
    shared, beat, clock = beats
    ann, ben = holder("ann"), holder("ben")
    liveness = Liveness(shared, 60, clock)
    beat(ann, 1)
    hers = queue.take(ann, liveness, others=alone)
    other = RunQueue(queue.root)
    for _ in range(2):
        other.take(ben, liveness, others=alone)
    assert other.take(ben, liveness, others=alone) is None  # the first look: she may live
    clock.now += 61
    his = other.take(ben, liveness, others=alone)
    assert (his.index, his.number) == (hers.index, 2)
    assert not queue.end(hers, end(ann))
    assert other.end(his, end(ben))
    assert not queue.end(hers, end(ann))
    assert [each.kind for each in other.history(hers.index)] == ["lease", "lease", "end"]
    assert other.history(hers.index)[-1].holder == ben


def test_whoever_ends_before_the_lease_is_taken_over_has_ended_it(queue, beats):
    shared, beat, clock = beats
    ann, ben = holder("ann"), holder("ben")
    liveness = Liveness(shared, 60, clock)
    beat(ann, 1)
    hers = queue.take(ann, liveness, others=alone)
    assert queue.end(hers, end(ann))
    clock.now += 1000
    other = RunQueue(queue.root)
    assert {other.take(ben, liveness, others=alone).index for _ in range(2)} == {1, 2}
    assert other.take(ben, liveness, others=alone) is None


def test_a_beat_that_grows_is_a_life_whatever_any_clock_says(queue, beats):
    shared, beat, clock = beats
    ann = holder("ann")
    liveness = Liveness(shared, 60, clock)
    for number in range(1, 20):
        beat(ann, number)
        os.utime(shared.root / "workers" / ann.worker, (0, number * 300))  # a host that is years behind
        assert not liveness.is_dead(ann)
        clock.now += 59
    clock.now += 2
    assert liveness.is_dead(ann)


def test_who_left_is_gone_at_once_and_who_was_never_seen_has_a_lease(beats, tmp_path):
    shared, _, clock = beats
    me = this_process().model_copy(update={"boot": "elsewhere"})
    liveness = Liveness(shared, 60, clock)
    with Heartbeat(shared, me, 60):
        assert not liveness.is_dead(me)
        assert liveness.living() == [me.worker]
    assert liveness.is_dead(me)
    nobody = holder("nobody")
    assert not liveness.is_dead(nobody)
    clock.now += 61
    assert liveness.is_dead(nobody)


def test_a_case_that_hangs_is_not_held_for_ever(beats):
    shared, _, clock = beats
    me = this_process().model_copy(update={"boot": "elsewhere"})
    liveness = Liveness(shared, 60, clock)
    with Heartbeat(shared, me, 0.06) as heartbeat:
        heartbeat.expect(-1.0)
        first = shared.read(f"workers/{me.worker}")
        heartbeat._thread.join(0.1)
        assert shared.read(f"workers/{me.worker}") == first
        heartbeat.expect(None)
        while shared.read(f"workers/{me.worker}") == first:
            heartbeat._thread.join(0.01)
    assert liveness.is_dead(me)


def test_a_dead_process_of_the_same_kernel_is_known_at_once(queue, beats):
    shared, _, clock = beats
    me = this_process()
    assert not is_known_dead(me)
    assert is_known_dead(me.model_copy(update={"started": me.started + 1}))  # its number was used again
    assert not is_known_dead(me.model_copy(update={"boot": "elsewhere", "pid": 2**22}))
    liveness = Liveness(shared, 60, clock)
    gone = Holder(worker="gone-1-0", host="h", boot=HERE.boot, pid=me.pid, started=me.started + 1)
    for _ in range(3):
        queue.take(gone, liveness, others=alone)
    assert RunQueue(queue.root).take(me, liveness, others=alone).number == 2


def test_a_failure_is_tried_on_three_hosts_and_then_by_nobody(tmp_path, beats):
    shared, _, clock = beats
    queue = queue_for(tmp_path, offer_of(1))
    liveness = Liveness(shared, 60, clock)
    for number, name in enumerate(("ann", "ben", "cid"), start=1):
        who = holder(name)
        taken = RunQueue(queue.root).take(who, liveness, others=lambda: True)
        assert (taken.number, taken.attempt) == (2 * number - 1, number)
        assert queue.end(taken, end(who, Outcome.INFRASTRUCTURE))
        assert RunQueue(queue.root).take(who, liveness, others=lambda: True) is None
    assert RunQueue(queue.root).take(holder("dan"), liveness, others=lambda: True) is None
    assert queue.is_settled(0)
    assert queue.ended() == [0]


@pytest.mark.parametrize(
    "outcome", [each for each in Outcome if each is not Outcome.INFRASTRUCTURE], ids=lambda each: each.value
)
def test_every_other_outcome_is_a_verdict(tmp_path, beats, outcome):
    shared, _, clock = beats
    queue = queue_for(tmp_path, offer_of(1))
    liveness = Liveness(shared, 60, clock)
    queue.end(queue.take(holder("ann"), liveness, others=alone), end(holder("ann"), outcome))
    assert RunQueue(queue.root).take(holder("ben"), liveness, others=alone) is None
    assert queue.ended() == [0]


def test_the_rule_of_retries():
    assert may_try("a", [], others=True)
    assert not may_try("a", ["a"], others=True)
    assert may_try("a", ["a"], others=False)
    assert not may_try("a", ["a", "a"], others=False)
    assert may_try("b", ["a", "a"], others=True)
    assert not may_try("d", ["a", "b", "c"], others=False)
    assert is_quarantined(["a", "b", "a", "c"])
    assert not is_quarantined(["a", "a", "a"])


def test_a_share_that_shows_changes_late_gives_no_case_twice(tmp_path, beats):
    shared, beat, clock = beats
    offer = offer_of(4)
    root = queue_for(tmp_path, offer).root
    late = [RunQueue(root, LateFolder(root)) for _ in range(2)]
    for queue in late:
        queue.shared.delay_s = 1e9  # nothing that the other does is ever seen
        queue.shared.names("slots")
        queue.shared.names("ended")
    ann, ben = holder("ann"), holder("ben")
    beat(ann, 1)
    beat(ben, 1)
    liveness = Liveness(shared, 60, clock)
    given = []
    for _ in range(4):
        for queue, who in zip(late, (ann, ben), strict=True):
            if (taken := queue.take(who, liveness, others=alone)) is not None:
                given.append(taken.index)
                assert queue.end(taken, end(who))
    assert sorted(given) == [0, 1, 2, 3]


def test_who_held_a_case_of_an_earlier_queue_ends_none_of_a_later_one(tmp_path, beats):
    shared, _, clock = beats
    names = {"challenge": "phantom", "team": "noop", "run": "0123456789ab"}
    first = RunQueue.make(queue_of(tmp_path, **names), offer_of(1))
    assert queue_of(tmp_path, **names) == first.root
    hers = first.take(holder("ann"), Liveness(shared, 60, clock), others=alone)
    for path in sorted(first.root.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    first.root.rmdir()
    second = RunQueue.make(queue_of(tmp_path, **names), offer_of(1))
    assert second.root != first.root
    assert not first.end(hers, end(holder("ann")))
    assert second.history(0) == []


def test_an_empty_lease_that_a_power_cut_left_is_somebody_s_who_is_gone(queue, beats):
    shared, _, clock = beats
    liveness = Liveness(shared, 60, clock)
    for index in range(3):
        (queue.root / "slots" / f"{index:05d}.0001").write_bytes(b"")
    ann = holder("ann")
    assert queue.take(ann, liveness, others=alone) is None
    clock.now += 61
    assert queue.take(ann, liveness, others=alone).number == 2


def test_a_worker_s_name_tells_its_host():
    assert host_of(this_process().worker) == this_process().host.partition(".")[0]
