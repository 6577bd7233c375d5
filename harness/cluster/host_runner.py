"""Where one worker runs cases: its host's engine, with the same steps as an evaluation on one machine."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from harness.cluster.identity import Holder, is_known_dead
from harness.cluster.images import load_offered, remove_offered
from harness.cluster.records import Division, Offer
from harness.data.dataset import Case, Dataset, Fingerprinted
from harness.engine.base import ContainerEngine
from harness.engine.registry import open_engine
from harness.errors import ConfigurationError, HarnessError
from harness.results.observer import Observer
from harness.results.records import Evidence, ExecutionRecord, Outcome, ScoreRecord
from harness.run.baseline import measure_baseline, measure_speed
from harness.run.canary import try_image
from harness.run.context import RUN_LABEL, Bench, Job, Rules
from harness.run.opening import Opened, check_disk, make_workplace, reap, resolve
from harness.run.request import EvaluationRequest, results_label
from harness.run.stage import discard_stages
from harness.run.workers import Threads
from harness.scoring.score import score_execution


class CaseRunner(Protocol):
    """Runs the cases of one run on this host, one at a time."""

    @property
    def division(self) -> Division:
        """What kind of host this is."""

    def run(self, case: Case, attempt: int, held: Path) -> ExecutionRecord:
        """Run a case; what stays of it goes to `held/cases/CASE`."""

    def score(self, execution: ExecutionRecord, case: Case, held: Path) -> ScoreRecord | None:
        """Score a case that was run; None where it cannot be scored here."""


class HostRunner(Protocol):
    """Gets a host ready for the cases of a run, and clears up after a worker that is dead."""

    def open(self, offer: Offer, observer: Observer) -> CaseRunner:
        """Make everything ready for a run, in place of the one before.

        Raises:
            HarnessError: this host cannot work on it.
        """

    def reap(self, holder: Holder) -> None:
        """Remove what a dead worker left running on this host."""

    def close(self) -> None:
        """Leave the run that is open, if one is."""

    def forget(self, offer: Offer) -> None:
        """Remove what a run that is over left on this host."""


class EngineHostRunner:
    """Runs cases in the container engine of this host.

    Args:
        results: The results folder, as this host sees it.
        holder: The worker; its containers bear its name.
        slot: Which of the places beside each other on this host is ours, from 0.
        scratch: Folder of this host for what containers write, seen by its engine.
    """

    def __init__(self, results: Path, holder: Holder, *, slot: int = 0, scratch: Path | None = None) -> None:
        self._results = results
        self._holder = holder
        self._slot = slot
        self._scratch = scratch or Path(tempfile.gettempdir())
        self._stack: ExitStack | None = None
        self._open: EngineCaseRunner | None = None
        self._speeds: dict[tuple[object, ...], tuple[float | None, float | None]] = {}

    def open(self, offer: Offer, observer: Observer) -> EngineCaseRunner:
        """See `HostRunner`."""
        self.close()
        with ExitStack() as stack:
            runner = stack.enter_context(_open_case_runner(self, offer, observer))
            self._stack = stack.pop_all()
        self._open = runner
        return runner

    def close(self) -> None:
        """See `HostRunner`."""
        self._open = None
        if self._stack is not None:
            self._stack.close()
            self._stack = None

    def forget(self, offer: Offer) -> None:
        """See `HostRunner`: the image that travelled here."""
        with suppress(HarnessError):
            engine = open_engine(offer.engine)
            remove_offered(engine, offer.image)
            engine.close()

    def reap(self, holder: Holder) -> None:
        """See `HostRunner`. Containers of other hosts are out of reach, and a watchdog there ends them."""
        if self._open is not None and holder.boot == self._holder.boot:
            with suppress(HarnessError):
                self._open.opened.bench.instruments.engine.reap(RUN_LABEL, worker_label(holder))
        if is_known_dead(holder):
            discard_stages(self._scratch_of(holder))

    def request(self, offer: Offer) -> EvaluationRequest:
        """Return the request that the offer was made from, as this host can carry it out."""
        record = offer.record
        dataset = Dataset(
            name=record.dataset.name, folder=offer.data, cases=tuple(each.case() for each in offer.cases)
        )
        return EvaluationRequest(
            team=record.team,
            title=record.title,
            image=offer.image.reference,
            challenge=record.challenge,
            dataset=Fingerprinted.of(dataset, record.dataset.fingerprint),
            results=self._results,
            device=record.device,
            opt_outs=record.opt_outs,
            limits=record.limits,
            profile=offer.profile,
            jobs=offer.slots,
            score=offer.score,
            environment=offer.environment,
        )

    def speeds(self, rules: Rules, engine: ContainerEngine) -> tuple[float | None, float | None]:
        """Return what an empty container and a fixed piece of work take; measured once for equal limits."""
        kind = (rules.limits, rules.cpusets, rules.runtime, engine.facts)
        if kind not in self._speeds:
            self._speeds[kind] = measure_baseline(rules, engine), measure_speed(rules, engine)
        return self._speeds[kind]

    @property
    def holder(self) -> Holder:
        """The worker."""
        return self._holder

    @property
    def slot(self) -> int:
        """Its place beside others on this host."""
        return self._slot

    def scratch(self) -> Path:
        """Return the folder of this host that stands for the results folder where stages are made."""
        return self._scratch_of(self._holder)

    def _scratch_of(self, holder: Holder) -> Path:
        return self._scratch / f"flareharness-{holder.worker}"


class EngineCaseRunner:
    """A run's bench on this host."""

    def __init__(
        self, host_runner: EngineHostRunner, offer: Offer, opened: Opened, rules: Rules, observer: Observer
    ) -> None:
        self._host_runner = host_runner
        self.offer = offer
        self.opened = opened
        self._rules = rules
        self._observer = observer
        self._refused: str | None = None
        self._division: Division | None = None

    @property
    def division(self) -> Division:
        """See `CaseRunner`."""
        if self._division is None:
            engine, host = self.opened.bench.instruments.engine, self.opened.draft.host
            assert host is not None, "this host is where the draft was made"
            baseline_s, speed_s = self._host_runner.speeds(self._rules, engine)
            self._division = Division(
                host=host,
                baseline_s=baseline_s,
                speed_s=speed_s,
                cpuset=",".join(dict.fromkeys(self._rules.cpusets)),
                output_bound="file system" if self.opened.bench.places.template else "counted",
            )
        return self._division

    def run(self, case: Case, attempt: int, held: Path) -> ExecutionRecord:
        """See `CaseRunner`."""
        bench = self.opened.bench
        if self._refused is None:
            self._refused = self._try_image(bench)
        if self._refused:
            return ExecutionRecord(
                case=case.id,
                attempt=attempt,
                outcome=Outcome.START_FAILED,
                evidence=Evidence(summary=f"the container could not be started: {self._refused}"),
                started_at=datetime.now(UTC),
            )
        here = replace(bench, places=replace(bench.places, folder=held))
        with Threads(1, here, self._observer) as threads:
            threads.submit(Job(case, attempt, self._rules, self._host_runner.slot))
            return threads.next_result()

    def _try_image(self, bench: Bench) -> str:
        if not bench.instruments.engine.facts.isolated:
            return ""
        trial = try_image(self._rules, self.opened.image, bench)
        self._rules = trial.rules
        return trial.refused

    def score(self, execution: ExecutionRecord, case: Case, held: Path) -> ScoreRecord | None:
        """See `CaseRunner`. What cannot be scored here is left to whoever merges, who says why."""
        if not self.offer.score or execution.outcome is Outcome.INFRASTRUCTURE:
            return None
        try:
            return score_execution(
                execution,
                case,
                challenge=self.offer.record.challenge,
                folder=held,
                profile=self.offer.profile,
            )
        except HarnessError:
            return None


@contextmanager
def _open_case_runner(
    host_runner: EngineHostRunner, offer: Offer, observer: Observer
) -> Iterator[EngineCaseRunner]:
    """Follow `harness.run.evaluate.open_run`, with folders of this host, without the run's journals."""
    check_files(offer)
    engine = open_engine(offer.engine)
    with ExitStack() as stack:
        stack.callback(engine.close)
        load_offered(engine, offer.image, identity=_identity(offer), progress=observer.note)
        request = host_runner.request(offer)
        opened = resolve(request, engine, observer)
        if opened.rules.run != offer.record.run:
            raise ConfigurationError(
                f"what this host would run is {opened.rules.run}, what was offered is {offer.record.run}",
                where=offer.image.reference,
                mend="Use one version of the harness, and one image under this name, on all hosts.",
            )
        if opened.gpu is not None:
            stack.enter_context(opened.gpu)
        stack.callback(discard_stages, host_runner.scratch())
        places = replace(opened.bench.places, results=host_runner.scratch())
        rules = replace(opened.rules, label=worker_label(host_runner.holder))
        opened = replace(opened, rules=rules, bench=replace(opened.bench, places=places))
        reap(opened, observer)
        check_disk(opened)
        opened = make_workplace(opened, observer)
        instruments = opened.bench.instruments
        stack.enter_context(instruments.gatekeeper).start()
        if instruments.watchdog is not None:
            stack.enter_context(instruments.watchdog)
        runner = EngineCaseRunner(host_runner, offer, opened, rules, observer)
        stack.callback(_reap_quietly, runner)
        yield runner


def _reap_quietly(runner: EngineCaseRunner) -> None:
    with suppress(HarnessError):
        runner.opened.bench.instruments.engine.reap(RUN_LABEL, runner.opened.rules.label)


def check_files(offer: Offer) -> None:
    """Check that this host sees the files of every case.

    Raises:
        ConfigurationError: it does not, or they are others.
    """
    for offered in offer.cases:
        files = offered.case().files
        try:
            there = sum(path.stat().st_size for path in files)
        except OSError as error:
            raise ConfigurationError(
                f"this host does not see the files of case {offered.id}",
                where=error.filename,
                mend="Mount the data set under the same path on every host.",
            ) from error
        if there != offered.size_bytes:
            raise ConfigurationError(
                f"case {offered.id} has {there} bytes here and {offered.size_bytes} where it was offered",
                where=files[0],
                mend="Mount the same data set on every host.",
            )


def worker_label(holder: Holder) -> str:
    """Return the label value by which the containers of a worker are found again."""
    return results_label(Path("/") / holder.boot / holder.worker)


def _identity(offer: Offer) -> str:
    return offer.record.image.identity if offer.record.image is not None else ""
