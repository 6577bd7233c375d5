"""The cases of one run as files, and the one rule by which exactly one result of each counts.

    results/.queue/CHALLENGE+TEAM+RUN+NONCE/
        offer.json            what is to be run
        division.json         the kind of host it is run on, put by the first worker
        slots/00042.0001      a lease, or an end
        ended/00042           a hint that nothing is left to do of the case; tells nothing that slots do not
        journals/WORKER.*     what each worker writes, alone
        held/00042.0001/      what stays of a case, until it is merged
        quota, used/WORKER    the time that containers may take (`harness.cluster.quota`)

The numbers of a case are its fencing numbers, and each is put once (`SharedFolder.put_new`). Whoever takes a
case puts a lease at the next number. Whoever ends it puts an end at the number after its lease:

    00042.0001  lease of A        A runs the case; A is stopped, its beat stands still
    00042.0002  lease of B        B takes it: the same number that A needs for its end
    00042.0003  end of B          A wakes and tries to put its end at 0002: it is taken, so A's work is void

To take over and to end compete for one name, and a link succeeds once. So a case has one end however late
anybody is, and neither clocks nor a scheduler have a say in it.
"""

from __future__ import annotations

import hashlib
import math
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from harness.cluster.heartbeat import Liveness
from harness.cluster.identity import Holder
from harness.cluster.quota import USED_FOLDER, TimeQuota
from harness.cluster.records import Division, End, Lease, Offer, Slot
from harness.cluster.retry import is_quarantined, may_try
from harness.cluster.shared import SharedFolder
from harness.errors import InfrastructureError
from harness.results.records import Outcome

Kind = TypeVar("Kind", bound=BaseModel)

QUEUE_FOLDER = ".queue"
_FOLDERS = ("slots", "ended", "journals", "held", "refusals", USED_FOLDER)
_DIGITS = 4


@dataclass(frozen=True)
class Taken:
    """A case that is ours until it is ended or somebody else's.

    Attributes:
        index: Of the case in the offer.
        number: The fencing number of our lease.
        attempt: Which attempt of the case it is.
    """

    index: int
    number: int
    attempt: int

    @property
    def name(self) -> str:
        """Of the lease's slot."""
        return _slot(self.index, self.number)


class RunQueue:
    """The queue of one run, as one process sees it.

    Args:
        root: `results/.queue/CHALLENGE+TEAM+RUN+NONCE`; made anew it has another nonce, so that nobody who
            held a case of an earlier one can end it here.
        shared: Its files; another one in tests.
    """

    def __init__(self, root: Path, shared: SharedFolder | None = None) -> None:
        self.root = root
        self.shared = shared or SharedFolder(root)
        self.quota = TimeQuota(self.shared)
        self._offer: Offer | None = None
        self._untouched: list[int] | None = None
        self._ended: set[int] = set()
        self._numbers: dict[int, int] = {}

    @property
    def name(self) -> str:
        """Names the run among all."""
        return self.root.name

    @classmethod
    def make(cls, root: Path, offer: Offer, *, time_s: float | None = None) -> RunQueue:
        """Make a queue, or open the one that is there of the same run.

        Args:
            root: See the class.
            offer: What is to be run.
            time_s: See `allow`.
        """
        queue = cls(root)
        for folder in _FOLDERS:
            (root / folder).mkdir(exist_ok=True)
        if offer.begun is not None:
            division = Division(host=offer.begun, baseline_s=offer.record.baseline_s)
            queue.shared.put_new("division.json", division.model_dump_json().encode(), durable=True)
        if time_s is not None:
            queue.quota.allow(time_s - offer.used_s)
        queue.shared.put_new("offer.json", offer.model_dump_json().encode(), durable=True)
        return queue

    def allow(self, time_s: float | None) -> None:
        """Say how long the run's containers may run in all, those before this offer too; None: without bound.

        Raises:
            InfrastructureError: the disk or the network fails.
        """
        self.quota.allow(math.inf if time_s is None else time_s - self.offer.used_s)

    @property
    def offer(self) -> Offer:
        """What is to be run."""
        if self._offer is None:
            self._offer = _read(Offer, self._offer_content(), self.root / "offer.json")
        return self._offer

    def _offer_content(self) -> bytes:
        content = self.shared.read("offer.json")
        if content is None:
            raise InfrastructureError("the offer is gone", where=self.root, mend="Evaluate again.")
        return content

    @property
    def start(self) -> str:
        """What the first line of each worker's journals carries."""
        return hashlib.sha256(self._offer_content()).hexdigest()

    @property
    def is_offered(self) -> bool:
        """Whether the run is still there to be worked on."""
        return self.shared.read("offer.json") is not None

    def is_over(self) -> bool:
        """Whether nobody will take a case of the run any more."""
        return not self.is_offered or len(self.ended()) == len(self.offer.cases)

    def division(self) -> Division | None:
        """The kind of host that the run is made on; None before the first worker came."""
        content = self.shared.read("division.json")
        return None if content is None else _read(Division, content, self.root / "division.json")

    def found_division(self, ours: Division) -> Division:
        """Return the run's division, which is ours if there was none."""
        if self.shared.put_new("division.json", ours.model_dump_json().encode(), durable=True):
            return ours
        return self.division() or ours

    def refuse(self, worker: str, why: str) -> None:
        """Leave word why a worker takes no case of the run."""
        self.shared.put_new(f"refusals/{worker}", why.encode())

    def refusals(self) -> dict[str, str]:
        """Why workers take no case of the run, by worker."""
        words = {name: self.shared.read(f"refusals/{name}") for name in self.shared.names("refusals")}
        return {name: (text or b"").decode(errors="replace") for name, text in words.items()}

    # ---- workers -------------------------------------------------------------------------------------------

    def untouched(self) -> bool:
        """Whether no case of the run was ever taken, as far as can be seen."""
        return not self.shared.names("slots")

    def take(
        self, holder: Holder, liveness: Liveness, *, others: Callable[[], bool], start: int = 0
    ) -> Taken | None:
        """Take a case that nobody has, or whose holder is dead, or whose last try failed elsewhere.

        Args:
            holder: Who asks.
            liveness: What it has seen of the others.
            others: Tells whether workers of other hosts are there.
            start: Where in the order to begin once the first case is taken, so that many who ask at once do
                not all ask for the same one. Who meets another goes on in the middle of the longest stretch
                that is free.
        """
        if self._untouched is None:
            count = len(self.offer.cases)
            self._look()
            self._untouched = _in_order(self._free(), first=start % (count - 1) + 1 if count > 1 else 0)
        while self._untouched:
            index = self._untouched.pop()
            if taken := self._put_lease(holder, index, 1, attempt=self._first_attempt(index)):
                return taken
            # Another came here on its way. Beside it we would ask for the same cases from now on.
            self._numbers[index] = 1
            self._look()
            free = self._free()
            self._untouched = _in_order(free, first=_middle_of_the_longest_stretch(free))
        return self._take_contested(holder, liveness, others=others)

    def _look(self) -> None:
        """List what is there. It takes as long as there are cases, so it is not done for each of them."""
        self._ended |= {int(name) for name in self.shared.names("ended")}
        for name in self.shared.names("slots"):
            index, number = map(int, name.split("."))
            self._numbers[index] = max(number, self._numbers.get(index, 0))

    def _free(self) -> list[int]:
        """Return the cases that nobody was seen to take, in their order."""
        return [index for index in range(len(self.offer.cases)) if index not in self._numbers]

    def _take_contested(
        self, holder: Holder, liveness: Liveness, *, others: Callable[[], bool]
    ) -> Taken | None:
        self._look()
        for index in sorted(self._numbers.keys() - self._ended):
            history = self.history(index)
            last = history[-1] if history else None
            if last is None:
                continue  # its name was seen before its content
            if isinstance(last, Lease):
                if not liveness.is_dead(last.holder):
                    continue
            elif self._is_over(history):
                self._note_ended(index)
                continue
            elif not may_try(holder.where, failed_hosts(history), others=others()):
                continue
            attempt = self._first_attempt(index) + len(failed_hosts(history))
            if taken := self._put_lease(holder, index, len(history) + 1, attempt=attempt):
                return taken
        return None

    def _put_lease(self, holder: Holder, index: int, number: int, *, attempt: int) -> Taken | None:
        content = Slot(content=Lease(holder=holder)).model_dump_json().encode()
        if not self.shared.put_new(f"slots/{_slot(index, number)}", content):
            return None
        self._numbers[index] = number
        return Taken(index, number, attempt)

    def _first_attempt(self, index: int) -> int:
        return self.offer.cases[index].attempt

    def end(self, taken: Taken, end: End) -> bool:
        """Put the end of a case that we hold; False if it is ours no more, and what was written is void."""
        content = Slot(content=end).model_dump_json().encode()
        try:
            if not self.shared.put_new(
                f"slots/{_slot(taken.index, taken.number + 1)}", content, durable=True
            ):
                return False
        except InfrastructureError:
            if self.is_offered:
                raise
            return False  # the run was concluded without us
        self._numbers[taken.index] = taken.number + 1
        if end.outcome is not Outcome.INFRASTRUCTURE or self.is_settled(taken.index):
            self._note_ended(taken.index)
        return True

    def _note_ended(self, index: int) -> None:
        self._ended.add(index)
        self.shared.put_new(f"ended/{index:05d}", b"")

    # ---- whoever merges ------------------------------------------------------------------------------------

    def ended(self) -> list[int]:
        """Return the cases of which nothing is left to do, as far as can be seen."""
        return [int(name) for name in self.shared.names("ended")]

    def touched(self) -> list[int]:
        """Return the cases that somebody ever took."""
        return sorted({int(name.split(".")[0]) for name in self.shared.names("slots")})

    def history(self, index: int) -> list[Lease | End]:
        """Return a case's leases and ends in the order of their numbers."""
        return list(self._history(index))

    def _history(self, index: int) -> Iterator[Lease | End]:
        number = 1
        while (content := self.shared.read(f"slots/{_slot(index, number)}")) is not None:
            yield _slot_content(content, _slot(index, number))
            number += 1

    def is_settled(self, index: int) -> bool:
        """Whether a case has a verdict, or is tried no more."""
        return self._is_over(self.history(index))

    @staticmethod
    def _is_over(history: Sequence[Lease | End]) -> bool:
        last = history[-1] if history else None
        if not isinstance(last, End):
            return False
        return last.outcome is not Outcome.INFRASTRUCTURE or is_quarantined(failed_hosts(history))

    def wait_for_leases(self, is_dead: Callable[[Holder], bool]) -> bool:
        """Whether somebody who lives holds a case that is not ended."""
        self._look()
        for index in self._numbers.keys() - self._ended:
            history = self.history(index)
            if history and isinstance(history[-1], Lease) and not is_dead(history[-1].holder):
                return True
        return False


def _in_order(free: list[int], *, first: int) -> list[int]:
    """Return the cases to take, the last one next: the offer's first, then from one on, and around."""
    return sorted(free, key=lambda index: (index != 0, index < first, index), reverse=True)


def _middle_of_the_longest_stretch(free: Sequence[int]) -> int:
    """Return the case that workers on their way reach last, so that as few as may be meet there."""
    begins = [at for at, index in enumerate(free) if at == 0 or free[at - 1] != index - 1]
    stretches = [free[begin:end] for begin, end in pairwise([*begins, len(free)])]
    longest = max(stretches, key=len, default=[0])
    return longest[len(longest) // 2]


def failed_hosts(history: Sequence[Lease | End]) -> list[str]:
    """Return the host of each try that ended without a verdict."""
    return [
        each.holder.where
        for each in history
        if isinstance(each, End) and each.outcome is Outcome.INFRASTRUCTURE
    ]


def offered_runs(results: Path) -> list[Path]:
    """Return the queues of a results folder that hold an offer, in the order of their names."""
    root = results / QUEUE_FOLDER
    if not root.is_dir():
        return []
    return sorted(path for path in root.iterdir() if "+" in path.name and (path / "offer.json").is_file())


def queue_of(results: Path, *, challenge: str, team: str, run: str) -> Path:
    """Return where the queue of a run is, or is to be made."""
    root = results / QUEUE_FOLDER
    name = f"{challenge}+{team}+{run}+"
    there = [path for path in offered_runs(results) if path.name.startswith(name)]
    return there[0] if there else root / f"{name}{secrets.token_hex(4)}"


def _slot(index: int, number: int) -> str:
    return f"{index:05d}.{number:0{_DIGITS}d}"


def _slot_content(content: bytes, name: str) -> Lease | End:
    """Return what a slot holds. What a power cut left empty is a lease whose holder is gone."""
    try:
        return Slot.model_validate_json(content).content
    except ValidationError:
        return Lease(holder=Holder(worker=f"lost-{name}", host="", boot="", pid=0, started=0))


def _read(kind: type[Kind], content: bytes, where: Path) -> Kind:
    try:
        return kind.model_validate_json(content)
    except ValidationError as error:
        raise InfrastructureError(
            f"a file of the queue is damaged: {error.errors()[0]['msg']}",
            where=where,
            mend="Move the queue's folder away and evaluate again: what was merged is kept.",
        ) from error
