"""Whoever wants a run: offers it, merges what comes, scores what is left, and takes the queue away.

It starts workers through a front end and may die at any moment: workers go on, and the same call merges what
they did meanwhile.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from harness.cluster.division import on_division, write_hosts
from harness.cluster.front import FrontEnd
from harness.cluster.heartbeat import Liveness, forget_heartbeats
from harness.cluster.images import offered_image, withdraw_offered
from harness.cluster.merge import Merger
from harness.cluster.queue import QUEUE_FOLDER, RunQueue, offered_runs, queue_of
from harness.cluster.quota import used_s
from harness.cluster.records import Offer, OfferedCase, OfferedImage
from harness.cluster.shared import SharedFolder
from harness.data.dataset import Fingerprinted
from harness.engine.base import ContainerEngine, ImageInfo
from harness.errors import ConfigurationError, HarnessError, InfrastructureError
from harness.results.folder import RunWriter, read_run_record
from harness.results.journal import CASES_FILE, RUN_FILE, read_lines
from harness.results.key import signing_key
from harness.results.lock import FolderLock
from harness.results.observer import Observer
from harness.results.plan import plan
from harness.results.records import ExecutionRecord
from harness.run.opening import chosen_runtime, draft_record
from harness.run.request import EvaluationRequest, check_request, run_id
from harness.run.stage import discard, place_in_order
from harness.scoring.score import cases_by_id, score_missing

POLL_S = 0.5
_LONGEST_PAUSE_S = 10.0
_IMAGES = "images"
_LOCKS = "locks"
_REVIVALS = 3
"""How often workers are started again when all of them are gone and cases are left."""


@dataclass
class _Wanted:
    """A run that is waited for.

    Attributes:
        left_s: Seconds that its containers may still run in all.
    """

    request: EvaluationRequest
    queue: RunQueue
    folder: Path
    lock: FolderLock
    merger: Merger | None = None
    writer: RunWriter | None = None
    is_over: bool = False
    left_s: float = float("inf")
    told: int = 0


class Client:
    """Evaluates requests on the workers of a cluster.

    Args:
        results: The results folder, which every host sees.
        engine: Knows the images.
        front: Starts workers.
        observer: Told of what goes on.
        observer_of: Returns who is told of a team's run; by default the same.
        lease_s: See `harness.cluster.heartbeat`.

    Attributes:
        failures: What went wrong with a run in the last call, by team.
    """

    def __init__(
        self,
        results: Path,
        *,
        engine: ContainerEngine,
        front: FrontEnd,
        observer: Observer,
        lease_s: float,
        observer_of: Callable[[str], Observer] | None = None,
    ) -> None:
        self._observer_of = observer_of or (lambda team: observer)
        self._results = results
        self._engine = engine
        self._front = front
        self._observer = observer
        self._lease_s = lease_s
        self._key = signing_key()
        self._revivals = 0
        self._done_with: set[OfferedImage] = set()
        self.failures: dict[str, HarnessError] = {}

    def evaluate(
        self, requests: Iterable[EvaluationRequest], *, time_s: Mapping[str, float | None] | None = None
    ) -> list[Path]:
        """Offer runs, and merge them until each is over or nobody is left who works.

        Args:
            requests: What to evaluate.
            time_s: By team, the seconds that the containers of its run may take in all. When they are used
                up the run is concluded, and cases that are still under way are void.

        Returns:
            The folder of each run that did not fail, in the order of the requests. A thousand runs would not
            fit into memory. What failed is in `failures`, by team.

        Raises:
            HarnessError: every run failed; the first one's error.
            KeyboardInterrupt: what was ended stays; the same call takes it up.
        """
        _allow_many_files()
        asked = list(requests)
        self.failures.clear()
        if not asked:
            return []  # no worker need be started
        with ExitStack() as stack:
            wanted = []
            for request in asked:
                with self._failing(request.team):
                    wanted.append(self._offer(request, stack, (time_s or {}).get(request.team)))
            self._liveness = Liveness(SharedFolder(self._results / QUEUE_FOLDER), self._lease_s)
            with self._front as front:
                front.start()
                while any(not each.is_over for each in wanted):
                    begin = time.monotonic()
                    progress = [
                        self._carry_on(self._look_at, each, stack) for each in wanted if not each.is_over
                    ]
                    if any(progress):
                        time.sleep(POLL_S)
                    elif self._is_worked_on():
                        # A thousand runs take a while to look at; half of the time is the file server's own.
                        time.sleep(min(_LONGEST_PAUSE_S, max(POLL_S, time.monotonic() - begin)))
                    else:
                        break
            for each in wanted:
                if not each.is_over:
                    self._carry_on(self._conclude, each, stack)
        self._tidy()
        if self.failures and len(self.failures) == len(asked):
            raise next(iter(self.failures.values()))
        return [each.folder for each in wanted if each.request.team not in self.failures]

    def _tidy(self) -> None:
        """Take away what no run that is still offered needs: names of images, archives, old beats."""
        left = offered_runs(self._results)
        with suppress(HarnessError):  # an offer that cannot be read may need any of them
            needed = {RunQueue(path).offer.image.reference for path in left if self._done_with}
            for image in self._done_with:
                if image.reference not in needed:
                    withdraw_offered(self._engine, image)
        self._done_with.clear()
        if not left:
            discard(self._results / QUEUE_FOLDER / _IMAGES)
            forget_heartbeats(SharedFolder(self._results / QUEUE_FOLDER))

    @contextmanager
    def _failing(self, team: str) -> Iterator[None]:
        """Keep what goes wrong with one team's run from the others'."""
        try:
            yield
        except HarnessError as error:
            self.failures[team] = error
            self._observer.note(f"{team}: {error.one_line()}")

    def _carry_on(
        self, step: Callable[[_Wanted, ExitStack], object], wanted: _Wanted, stack: ExitStack
    ) -> bool:
        """Take a step with one run, which is over for this call if it fails; return whether it went on."""
        with self._failing(wanted.request.team):
            return bool(step(wanted, stack))
        wanted.is_over = True
        return True

    # ---- offering ------------------------------------------------------------------------------------------

    def _offer(self, request: EvaluationRequest, stack: ExitStack, time_s: float | None) -> _Wanted:
        """Offer a run, or take up an offer that is there.

        Raises:
            ConfigurationError: the request cannot be carried out on several hosts.
            InfrastructureError: another process merges the run, or the disk fails.
        """
        check_request(request)
        _check_spreadable(request)
        image = self._engine.image(request.image)
        dataset = Fingerprinted.of(request.dataset, request.dataset.fingerprint(self._hashing))
        facts = self._engine.facts
        run = run_id(
            request,
            image=image,
            fingerprint=dataset.known,
            isolated=facts.isolated,
            runtime=chosen_runtime(request, facts),
        )
        name = f"{request.challenge.name}+{request.team}+{run}"
        lock = stack.enter_context(FolderLock(self._results / QUEUE_FOLDER / _LOCKS / name))
        folder = self._results / request.challenge.name / request.team / run
        root = queue_of(self._results, challenge=request.challenge.name, team=request.team, run=run)
        left_s = float("inf") if time_s is None else time_s - used_s(folder)
        if (root / "offer.json").is_file():
            self._observer.note(f"{request.team}: taken up where an earlier call left it")
            queue = RunQueue(root)
            queue.allow(time_s)
        else:
            offer = self._made_offer(request, dataset, image, run=run, folder=folder)
            queue = RunQueue.make(root, offer, time_s=time_s)
        return _Wanted(request, queue, folder, lock, left_s=left_s)

    def _hashing(self, done: int, total: int) -> None:
        self._observer.preparing("hashing the data", done, total)

    def _made_offer(
        self, request: EvaluationRequest, dataset: Fingerprinted, image: ImageInfo, *, run: str, folder: Path
    ) -> Offer:
        left = sorted(
            plan(dataset.cases, read_lines(folder / CASES_FILE, ExecutionRecord)),
            key=lambda planned: place_in_order(dataset.known, run, planned.case.id),
        )
        begun = read_run_record(folder) if (folder / RUN_FILE).exists() else None
        record = begun or draft_record(request, run, dataset.known, image=image)
        record = record.model_copy(update={"key": self._key.id})
        archives = self._results / QUEUE_FOLDER / _IMAGES
        return Offer(
            record=record,
            cases=tuple(OfferedCase.of(each.case, each.attempt) for each in left),
            image=offered_image(self._engine, image, request.image, archives, travels=self._front.spreads),
            engine=self._engine.registered,
            environment=request.environment,
            data=dataset.folder.resolve(),
            profile=request.scoring_profile,
            score=request.score,
            slots=self._front.slots,
            lease_s=self._lease_s,
            begun=begun.host if begun is not None else None,
            used_s=used_s(folder),
        )

    # ---- merging -------------------------------------------------------------------------------------------

    def _look_at(self, wanted: _Wanted, stack: ExitStack) -> bool:
        """Merge what came of a run, and conclude it if it is over; return whether something came."""
        total = len(wanted.queue.offer.cases)
        if not total:
            self._conclude(wanted, stack)
            return True
        if not self._open(wanted, stack):
            return False
        merger = wanted.merger
        assert merger is not None
        before, observer = merger.merged, self._observer_of(wanted.request.team)
        assert wanted.writer is not None
        with wanted.writer.together():  # until the queue is taken away, all of it is in the workers' journals
            for execution, score in merger.merge():
                wanted.left_s -= execution.stages.run_s or 0.0
                observer.case_finished(execution)
                if score is not None:
                    observer.case_scored(score)
        if merger.merged == total or wanted.left_s <= 0:
            self._conclude(wanted, stack)
        return merger.merged > before

    def _open(self, wanted: _Wanted, stack: ExitStack) -> bool:
        """Open the run's folder once the first worker has told what it runs on."""
        self._tell_refusals(wanted)
        if wanted.merger is not None:
            return True
        division = wanted.queue.division()
        if division is None:
            return False
        offer = wanted.queue.offer
        record = on_division(offer.record, division)
        wanted.writer = stack.enter_context(RunWriter(wanted.folder, record))
        wanted.merger = Merger(wanted.queue, wanted.writer, self._key)
        total = len(record.dataset.cases)
        self._observer_of(record.team).run_opened(record, wanted.folder, total=total, left=len(offer.cases))
        return True

    def _tell_refusals(self, wanted: _Wanted) -> None:
        refusals = wanted.queue.refusals()
        for why in list(refusals.values())[wanted.told :]:
            self._observer.note(f"{wanted.request.team}: {why}")
        wanted.told = len(refusals)

    def _conclude(self, wanted: _Wanted, stack: ExitStack) -> None:
        """Store what is left of a run and take its queue away."""
        total = len(wanted.queue.offer.cases)
        if total and not self._open(wanted, stack):
            refusals = "; ".join(wanted.queue.refusals().values())
            raise InfrastructureError(
                "no worker took a case",
                where=wanted.queue.name,
                mend=refusals or "Look at what the workers say; the same command goes on.",
            )
        request = wanted.request
        writer = wanted.writer
        if wanted.merger is not None:
            assert writer is not None
            with writer.together():
                for execution, _score in wanted.merger.merge_rest():
                    self._observer_of(request.team).case_finished(execution)
            write_hosts(wanted.queue, wanted.folder)
        if writer is None:
            writer = stack.enter_context(RunWriter(wanted.folder, read_run_record(wanted.folder)))
        if request.score:
            score_missing(
                writer,
                cases_by_id(request.dataset),
                request.challenge,
                profile=request.scoring_profile,
                observer=self._observer_of(request.team),
            )
        writer.close()
        wanted.is_over = True
        with suppress(OSError):
            (wanted.queue.root / "offer.json").unlink()  # from here on nobody takes a case of it
        discard(wanted.queue.root)
        wanted.lock.remove()
        self._done_with.add(wanted.queue.offer.image)

    # ---- workers -------------------------------------------------------------------------------------------

    def _is_worked_on(self) -> bool:
        """Whether somebody works or can be made to; workers that all died are started again."""
        if self._front.working() or self._liveness.living():
            return True
        if self._revivals >= _REVIVALS:
            return False
        self._revivals += 1
        self._observer.note("no worker is left; starting them again")
        self._front.start()
        return True


def _allow_many_files() -> None:
    """Four files are open for each run that is merged, and the usual limit is for a few hundred."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _check_spreadable(request: EvaluationRequest) -> None:
    for used, option in ((request.warm_up, "--warm-up"), (request.overlap_scoring, "--overlap-scoring")):
        if used:
            raise ConfigurationError(
                "this is for one machine", where=option, mend="Leave it out together with --cluster."
            )
