"""`harness evaluate` for many teams: who takes part, in which order, and the organiser's table at the end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from typing import Annotated

import typer
from rich.table import Table

from harness.challenge import Challenge
from harness.cli.display import say, stdout
from harness.cli.entry import Entry, conclude, entry_for, refuse_alike
from harness.cli.observer import ConsoleObserver, ManyObserver
from harness.cluster.client import Client
from harness.cluster.front import front_end
from harness.cluster.quota import used_s
from harness.engine.base import ContainerEngine
from harness.errors import EXIT_OK, EXIT_SUBMISSION_FAILED, ConfigurationError
from harness.results.folder import read_run
from harness.results.records import OptOuts
from harness.run.request import EvaluationRequest
from harness.run.workers import terminate_like_interrupt
from harness.submission.find import discover
from harness.submission.load import team_of
from harness.teams.entries import ENTRIES_FILE, EntryTable, concluded, cut_off
from harness.teams.fair_order import evaluate_in_turn, with_known_data
from harness.teams.intake import Entered, Intake
from harness.teams.roster import Entrant, Inbox, entrants_of, looks_like_source, read_roster
from harness.text import printable

RosterFile = Annotated[
    Path | None, typer.Option("--teams", help="A TOML file that lists the teams; see docs/scale.md.")
]
InboxFolder = Annotated[
    Path | None, typer.Option("--inbox", help="Evaluate every archive in this folder, each a team.")
]
AllTeams = Annotated[bool, typer.Option("--all", help="Evaluate every submission of the submissions folder.")]
Watch = Annotated[bool, typer.Option("--watch", help="With --inbox: stay, and take what arrives.")]

Cluster = Annotated[
    str | None,
    typer.Option("--cluster", help="Run on several hosts: local:N, slurm:N, or a Dask scheduler's address."),
]
LeaseSeconds = Annotated[
    float,
    typer.Option("--lease", min=1.0, help="With --cluster: seconds after which a silent worker is dead."),
]

LOOK_S = 5.0
"""How often a watched inbox is looked at. What did not change between two looks is whole."""


@dataclass(frozen=True)
class Field:
    """Who takes part in a call.

    Attributes:
        inbox: Where more may arrive.
    """

    entrants: Sequence[Entrant]
    inbox: Inbox | None = None


@dataclass(frozen=True)
class General:
    """What holds for every team that says nothing else."""

    submissions: Path
    challenge: Challenge
    device: str | None
    opt_outs: OptOuts


def chosen(
    words: Sequence[str],
    *,
    images: Sequence[str],
    roster: Path | None,
    inbox: Path | None,
    every: bool,
    submissions: Path,
) -> Field | None:
    """Return who takes part, or None if the call is for one team, in the words of one team.

    Raises:
        ConfigurationError: more than one way of naming teams was used, or there is no such file or folder.
    """
    several = len(words) > 1 or any(map(looks_like_source, words))
    ways = [
        name
        for name, used in (
            ("names", several),
            ("--teams", roster is not None),
            ("--inbox", inbox is not None),
            ("--all", every),
        )
        if used
    ]
    if not ways:
        return None
    beside = [*ways, *(["--image"] if images else []), *(["TEAM"] if words and not several else [])]
    if len(beside) > 1:
        raise ConfigurationError(
            f"teams are named in {len(beside)} ways: {', '.join(beside)}", mend="Use one of them."
        )
    if roster is not None:
        return Field(read_roster(roster))
    if inbox is not None:
        return Field((), Inbox(inbox))
    names = discover(submissions) if every else words
    return Field([_named(word) for word in names])


def _named(word: str) -> Entrant:
    return entrants_of([word])[0] if looks_like_source(word) else Entrant(word)


def one_of(team: str | None, images: Sequence[str]) -> Field:
    """Return the field of a call for one team, or for several images."""
    if not images:
        return Field([Entrant(team or "")])
    return Field([Entrant(team or team_of(image), image) for image in images])


@dataclass(frozen=True)
class Call:
    """One call of the command for many teams.

    Attributes:
        folder: `results/CHALLENGE`.
        request_for: Returns what to evaluate of an entry.
        watch: Stay, and take what arrives.
    """

    engine: ContainerEngine
    folder: Path
    general: General
    request_for: Callable[[Entry], EvaluationRequest]
    watch: bool = False

    def evaluate(self, field: Field) -> int:
        """Evaluate a field on this host, print the organiser's table and return the exit code."""
        entries = EntryTable(self.folder)
        with ConsoleObserver() as observer:
            intake = self._intake(entries, observer)
            codes: list[int] = []
            for entrants in self._rounds(field):
                finished = evaluate_in_turn(
                    self._entered(intake, entrants),
                    engine=self.engine,
                    observer=observer,
                    entries=entries,
                    arrivals=lambda: self._entered(intake, self._arrivals(field)),
                )
                codes += [conclude(read_run(run)) for run in finished]
        return self._close(entries, intake, codes)

    def distribute(self, field: Field, words: str, *, lease_s: float) -> int:
        """Evaluate a field on a cluster, print the organiser's table and return the exit code.

        Raises:
            ConfigurationError: the words name no cluster.
        """
        entries = EntryTable(self.folder)
        results = self.folder.parent
        with ManyObserver() as observer:
            front = front_end(words, results, lease_s=lease_s, observer=observer)
            intake = self._intake(entries, observer)
            codes: list[int] = []
            for entrants in self._rounds(field):
                entered = self._entered(intake, entrants)
                requests = [replace(each.request, jobs=front.slots) for each in entered]
                times = {each.request.team: each.entrant.quota.time for each in entered}
                client = Client(
                    results,
                    engine=self.engine,
                    front=front,
                    observer=observer,
                    lease_s=lease_s,
                    observer_of=observer.of_team,
                )
                with terminate_like_interrupt():
                    finished = client.evaluate(requests, time_s=times)
                for each in entered:
                    if (error := client.failures.get(each.request.team)) is not None:
                        entries.put(cut_off(each.row, error))
                        codes.append(error.exit_code)
                evaluated = [each for each in entered if each.request.team not in client.failures]
                for each, folder in zip(evaluated, finished, strict=True):
                    run = read_run(folder)
                    time_s = each.entrant.quota.time
                    out = time_s is not None and used_s(folder) >= time_s
                    entries.put(concluded(each.row, run, out_of_quota=out), run)
                    codes.append(conclude(run))
        return self._close(entries, intake, codes)

    def _close(self, entries: EntryTable, intake: Intake, codes: list[int]) -> int:
        show(entries, self.folder)
        if intake.rejected:
            codes.append(EXIT_SUBMISSION_FAILED)
        return max(codes, default=EXIT_OK)

    def _intake(self, entries: EntryTable, observer: ConsoleObserver) -> Intake:
        return Intake(self.folder, self.engine, prepare=self._prepare, entries=entries, note=observer.note)

    def _rounds(self, field: Field) -> Iterator[Sequence[Entrant]]:
        """Yield who is to be evaluated now; with --watch for ever."""
        if field.inbox is None:
            yield field.entrants
            return
        yield field.inbox.arrivals(settled=self.watch)
        while self.watch:
            if arrived := field.inbox.arrivals():
                yield arrived
            sleep(LOOK_S)

    def _arrivals(self, field: Field) -> Sequence[Entrant]:
        return field.inbox.arrivals() if field.inbox is not None and self.watch else ()

    def _entered(self, intake: Intake, entrants: Sequence[Entrant]) -> list[Entered]:
        entered = list(intake.take_in(entrants))
        requests = with_known_data(each.request for each in entered)
        return [replace(each, request=request) for each, request in zip(entered, requests, strict=True)]

    def _prepare(self, entrant: Entrant) -> EvaluationRequest:
        general = self.general
        own = entrant.opt_outs.model_dump()
        entry = entry_for(
            self.engine,
            entrant.name,
            entrant.image or None,
            submissions=general.submissions,
            challenge=general.challenge,
            device=entrant.device or general.device,
            opt_outs=OptOuts(**{name: own[name] or value for name, value in general.opt_outs}),
        )
        if entrant.title:
            entry = replace(entry, title=entrant.title)
        if entrant.image and entrant.name == team_of(entrant.image):
            refuse_alike(self.folder, entry)
        return self.request_for(entry)


def show(entries: EntryTable, folder: Path) -> None:
    """Print the organiser's table, and where it lies."""
    table = Table(box=None, header_style="bold")
    for title in ("team", "status", "cases", "succeeded", "why"):
        table.add_column(title, justify="right" if title in ("cases", "succeeded") else "left")
    for row in entries.rows:
        done = f"{row.verdicts}/{row.cases}" if row.cases else ""
        succeeded = str(row.succeeded) if row.cases else ""
        cells = (row.team, row.status, done, succeeded, row.why)
        table.add_row(*(printable(cell).replace("[", "\\[") for cell in cells))
    stdout().print(table)
    say(f"the whole table, with what would help: {folder / ENTRIES_FILE}")
